# Windows of every kind: two that wait for the user, one asked of a toolkit, one that stays open until the end.
import matplotlib.pyplot as plt

plt.rcParams["font.sans-serif"] = ["no such font"]
for size in (1, 2):
    plt.figure(figsize=(size, 1))
    plt.title("序列")
plt.show()
plt.switch_backend("TkAgg")
plt.figure(figsize=(3, 1))
plt.show()
plt.ion()
for size in (1, 4):
    plt.gcf().set_size_inches(size, 1)
    plt.show()
print("done")
