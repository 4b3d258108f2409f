"""Is a sequence of zeros and ones mostly ones?

A recurrent network reads ten digits, one at a time, and says at the end whether more than half of them were ones.
It has to count, and nobody tells it how.  1,000 random sequences to train on, 200 others to test on.

    python demos/majority.py                  # 20 epochs, two pictures
    python demos/majority.py --quick          # 10 epochs
    python demos/majority.py --epochs 60      # see it go on learning
    python demos/majority.py --cell LSTM      # the same with another cell
    python demos/majority.py --device cuda    # on an NVIDIA GPU
"""

import math
from pathlib import Path

import command_line
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from tqdm import tqdm

import tinyrnn as torch
from tinyrnn import nn, optim

LENGTH = 10
NAMES = ["at most half ones", "mostly ones"]


def sequences(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Random sequences (count, LENGTH, 1) of zeros and ones, and their labels (count,)."""
    rows = [np.random.randint(0, 2, size=LENGTH) for _ in range(count)]
    labels = [int(row.sum() > LENGTH // 2) for row in rows]
    return torch.FloatTensor(rows).unsqueeze(-1), torch.LongTensor(labels)


class Classifier(nn.Module):
    """A recurrent layer, and a linear one on its last hidden state."""

    def __init__(self, cell: str, hidden: int):
        super().__init__()
        self.rnn = getattr(nn, cell)(1, hidden, batch_first=True)
        self.fc = nn.Linear(hidden, 2)

    def forward(self, x):
        out, _ = self.rnn(x)
        return self.fc(out[:, -1, :])


def train(model: nn.Module, inputs: torch.Tensor, labels: torch.Tensor, epochs: int) -> list[float]:
    """Adam on the full batch; the loss of each epoch."""
    criterion = nn.CrossEntropyLoss()
    optimizer = optim.Adam(model.parameters(), lr=0.01)
    losses = []
    with tqdm(range(epochs), desc="Training", unit="epoch", ncols=80) as progress:
        for epoch in progress:
            loss = criterion(model(inputs), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            progress.set_postfix(loss=f"{loss.item():.4f}", refresh=False)
            if (epoch + 1) % 5 == 0:
                tqdm.write(f"Epoch [{epoch + 1}/{epochs}], Loss: {loss.item():.4f}")
    return losses


def predict(model: nn.Module, inputs: torch.Tensor) -> np.ndarray:
    """The class that the model finds more likely, for each sequence."""
    model.eval()
    with torch.no_grad():
        return model(inputs).argmax(1).cpu().numpy()


def plot_losses(losses: list[float], path: Path) -> None:
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    axes.axhline(math.log(2), color="0.6", linestyle="--", label="guessing (ln 2)")
    axes.plot(range(1, len(losses) + 1), losses, color="tab:blue", marker="o", markersize=3.5, label="training loss")
    axes.annotate(
        f"{losses[-1]:.4f}", (len(losses), losses[-1]), xytext=(0, 8), textcoords="offset points", ha="center"
    )
    axes.set(title="Mostly ones? Training loss", xlabel="epoch", ylabel="cross-entropy (nats)", ylim=(0, None))
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=150)
    plt.close(figure)


def plot_confusion(predicted: np.ndarray, true: np.ndarray, path: Path) -> None:
    counts = np.zeros((2, 2), int)
    np.add.at(counts, (true, predicted), 1)
    shares = counts / counts.sum(1, keepdims=True).clip(1)
    figure, axes = plt.subplots(figsize=(5, 4.2), layout="constrained")
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        share = shares[row, column]
        axes.text(
            column, row, f"{count}\n{share:.0%}", ha="center", va="center", color="white" if share > 0.5 else "black"
        )
    accuracy = (predicted == true).mean()
    axes.set(
        title=f"{len(true)} test sequences, {accuracy:.1%} right",
        xlabel="predicted",
        ylabel="true",
        xticks=[0, 1],
        yticks=[0, 1],
        xticklabels=NAMES,
        yticklabels=NAMES,
    )
    axes.tick_params(axis="y", labelrotation=90)
    plt.setp(axes.get_yticklabels(), va="center")
    figure.colorbar(image, label="share of the true class", format=lambda v, _: f"{v:.0%}")
    figure.savefig(path, dpi=150)
    plt.close(figure)


def main() -> None:
    parser = command_line.Parser(__doc__, quick="10 epochs")
    at_least_1 = command_line.at_least(1)
    parser.add_argument("--epochs", type=at_least_1, help="passes over the training data (default: 20; quick: 10)")
    parser.add_argument("--hidden", type=at_least_1, default=16, help="hidden units (default: 16)")
    parser.add_argument("--cell", choices=["RNN", "GRU", "LSTM"], default="RNN", help="recurrent layer (default: RNN)")
    parser.add_argument("--seed", type=command_line.seed, default=42, help="random seed (default: 42)")
    args = parser.parse_args()
    command_line.prepare(args)
    epochs = args.epochs or (10 if args.quick else 20)

    torch.manual_seed(args.seed)
    np.random.seed(args.seed)
    train_inputs, train_labels = sequences(1000)
    test_inputs, test_labels = sequences(200)
    model = Classifier(args.cell, args.hidden).to(args.device)
    parameters = sum(p.numel() for p in model.parameters())
    print(f"Is a sequence of {LENGTH} zeros and ones mostly ones?  {args.cell}, {parameters} parameters.")
    print(
        f"The first sequence, {''.join(str(int(x)) for x in train_inputs[0].flatten())}, has {NAMES[train_labels[0]]}."
    )
    print("A first run compiles the kernels, which takes some seconds; the next one finds them on disk.\n")

    losses = train(model, train_inputs.to(args.device), train_labels.to(args.device), epochs)
    predicted, true = predict(model, test_inputs.to(args.device)), test_labels.numpy()
    guess = max(true.mean(), 1 - true.mean())
    print(
        f"Test Accuracy: {100 * (predicted == true).mean():.2f}%   (always the more frequent class: {100 * guess:.2f}%)"
    )

    for name, plot in (
        ("loss", lambda path: plot_losses(losses, path)),
        ("confusion", lambda path: plot_confusion(predicted, true, path)),
    ):
        path = args.out / f"majority-{name}.png"
        plot(path)
        print(f"{path} written")
    print("Look at: the plateau while it predicts the class frequencies, and the fall when it begins to count.")


if __name__ == "__main__":
    command_line.run(main)
