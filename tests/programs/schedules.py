"""One sine regression under many optimizers, each with two parameter groups and a schedule of its own."""

import torch
from torch import nn, optim
from torch.optim import lr_scheduler


class Regression(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.RNN(1, 10, batch_first=True)
        self.norm = nn.LayerNorm(10)
        self.out = nn.Linear(10, 1)

    def forward(self, x):
        out, _ = self.rnn(x)
        return self.out(self.norm(out))


def groups(model):
    """Matrices decay, vectors do not, and learn at a rate of their own."""
    matrices = [p for p in model.parameters() if p.dim() > 1]
    vectors = [p for p in model.parameters() if p.dim() < 2]
    return [{"params": matrices, "weight_decay": 1e-2}, {"params": vectors, "lr": 4e-3}]


def warm_up(step):
    return min(1.0, (step + 1) / 10)


RECIPES = [
    (lambda p: optim.SGD(p, lr=0.02, momentum=0.9, nesterov=True), lambda o: lr_scheduler.StepLR(o, 10, 0.5)),
    (lambda p: optim.Adam(p, lr=5e-3, amsgrad=True), lambda o: lr_scheduler.LambdaLR(o, [warm_up, lambda s: 0.95**s])),
    (lambda p: optim.AdamW(p, lr=5e-3, betas=(0.9, 0.95)), lambda o: lr_scheduler.CosineAnnealingLR(o, 50, 1e-4)),
    (lambda p: optim.RMSprop(p, lr=2e-3, momentum=0.5), lambda o: lr_scheduler.MultiStepLR(o, [15, 30], gamma=0.3)),
    (lambda p: optim.Adagrad(p, lr=0.02), lambda o: lr_scheduler.ExponentialLR(o, 0.97)),
    (lambda p: optim.Adam(p, lr=1e-3), lambda o: lr_scheduler.OneCycleLR(o, max_lr=[1e-2, 5e-3], total_steps=50)),
    (lambda p: optim.SGD(p, lr=0.02), lambda o: lr_scheduler.LinearLR(o, 0.1, 1.0, total_iters=20)),
    (
        lambda p: optim.SGD(p, lr=0.02),
        lambda o: lr_scheduler.ReduceLROnPlateau(o, factor=0.5, patience=2, threshold=0.05),
    ),
]

t = torch.linspace(0, 12, 40)
x, y = t.sin().view(2, 20, 1), t.cos().view(2, 20, 1)
for make_optimizer, make_scheduler in RECIPES:
    model = Regression()
    optimizer = make_optimizer(groups(model))
    scheduler = make_scheduler(optimizer)
    print(type(scheduler).__name__, optimizer)
    for step in range(50):
        loss = nn.functional.mse_loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if isinstance(scheduler, lr_scheduler.ReduceLROnPlateau):
            scheduler.step(loss.item())
        else:
            scheduler.step()
        if step % 5 == 4:
            print(f"{step:2d} loss {loss.item():.7f} lr", *(f"{group['lr']:.8f}" for group in optimizer.param_groups))
    state = optimizer.state_dict()
    print([group["params"] for group in state["param_groups"]], sorted(state["state"].get(0, {})))
