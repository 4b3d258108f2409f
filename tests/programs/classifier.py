"""Is a walk going up or down?  Dropout, a Dataset, a shuffled DataLoader with two workers, a checkpoint."""

import io

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, random_split


class Walks(Dataset):
    """Random walks with a drift; the label tells its sign."""

    def __init__(self, n, length):
        drift = torch.empty(n, 1, 1).uniform_(-0.5, 0.5)
        self.walks = (torch.randn(n, length, 1) + drift).cumsum(1)
        self.labels = (drift.view(-1) > 0).long()

    def __len__(self):
        return len(self.walks)

    def __getitem__(self, i):
        return {"walk": self.walks[i], "label": self.labels[i], "number": i}


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.GRU(1, 24, batch_first=True, bidirectional=True)
        self.head = nn.Sequential(nn.Dropout(0.4), nn.Linear(48, 16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 2))

    def forward(self, x):
        _, h = self.rnn(x)
        return self.head(torch.cat((h[-2], h[-1]), dim=1))


def main():
    training, held_out = random_split(Walks(240, 12), [200, 40])
    loader = DataLoader(training, batch_size=16, shuffle=True, num_workers=2, drop_last=True)
    model = Classifier()
    print(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3, weight_decay=0.05)
    criterion = nn.CrossEntropyLoss(label_smoothing=0.05)
    step = 0
    while step < 50:
        model.train()
        for batch in loader:
            optimizer.zero_grad()
            loss = criterion(model(batch["walk"]), batch["label"])
            loss.backward()
            optimizer.step()
            print(f"{step:2d} loss {loss.item():.7f}", batch["number"][:5].tolist())
            step += 1
        model.eval()
        right = 0
        with torch.no_grad():
            for batch in DataLoader(held_out, batch_size=25):
                right += (model(batch["walk"]).argmax(1) == batch["label"]).sum().item()
        print(f"held out: {right}/{len(held_out)}")

    file = io.BytesIO()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step}, file)
    file.seek(0)
    saved, again = torch.load(file), Classifier()
    print(again.load_state_dict(saved["model"]), saved["step"], list(saved["model"])[:3])
    again.eval()
    walk = torch.arange(5.0).view(1, 5, 1)
    print(torch.equal(again(walk), model(walk)), again(walk).softmax(1))


if __name__ == "__main__":
    main()
