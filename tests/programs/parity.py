# Is the number of ones in a sequence odd? A GRU with dropout, trained in shuffled batches.
import torch
import torch.nn as nn
import torch.optim as optim
from torch.utils.data import DataLoader, TensorDataset


class Parity(nn.Module):
    def __init__(self, hidden_size):
        super().__init__()
        self.gru = nn.GRU(input_size=1, hidden_size=hidden_size, batch_first=True)
        self.dropout = nn.Dropout(0.1)
        self.fc = nn.Linear(hidden_size, 2)

    def forward(self, x):
        output, last = self.gru(x)
        return self.fc(self.dropout(output[:, -1]))


bits = torch.randint(0, 2, (64, 6))
loader = DataLoader(TensorDataset(bits.float().unsqueeze(-1), bits.sum(1) % 2), batch_size=16, shuffle=True)
model = Parity(8)
print(model)
criterion = nn.CrossEntropyLoss()
optimizer = optim.Adam(model.parameters(), lr=0.01)

for epoch in range(3):
    for inputs, labels in loader:
        optimizer.zero_grad()
        loss = criterion(model(inputs), labels)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    print(f"Epoch {epoch + 1}, loss {loss.item():.4f}")
