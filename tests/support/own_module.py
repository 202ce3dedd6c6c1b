"""A user's own module, as it would lie in a file; and others that should have stayed at home."""

from typing import Final

CODE: Final = b'''
import os
import socket
import threading

import torch
from torch import nn


class Net(nn.Module):
    """Foretells the next byte from the one before."""

    def __init__(self, width=8):
        super().__init__()
        self.table = nn.Embedding(256, width)
        self.out = nn.ModuleDict({"first": nn.Linear(width, 256)})

    def forward(self, tokens):
        return self.out["first"](self.table(tokens).tanh())


class OwnLoss(Net):
    def loss(self, rows):
        logits = self(rows[:, :-1]).transpose(1, 2)
        return nn.functional.cross_entropy(logits, rows[:, 1:], label_smoothing=0.1)


class Line(nn.Module):
    """The third number of a row from two floats before it."""

    def __init__(self):
        super().__init__()
        self.line = nn.Linear(2, 1)

    def loss(self, rows):
        floats = rows[:, :2].int().view(torch.float32)
        return ((self.line(floats)[:, 0] - rows[:, 2]) ** 2).mean()


class Looks(nn.Module):
    """The class of a picture, four pixels wide and high."""

    def __init__(self):
        super().__init__()
        self.out = nn.Linear(48, 2)

    def loss(self, rows):
        pixels, label = rows[:, :-2] / 255, 256 * rows[:, -2] + rows[:, -1]
        return nn.functional.cross_entropy(self.out(pixels), label)


class Noisy(Net):
    def forward(self, tokens):
        return super().forward(tokens) + torch.randn(())


class Poison(Net):
    def forward(self, tokens):
        return super().forward(tokens) * float("nan")


def build():
    return Net()


def own_loss():
    return OwnLoss()


def line():
    return Line()


def looks():
    return Looks()


def noisy():
    return Noisy()


def poison():
    return Poison()


def nothing():
    return "a model"


def calls_out():
    return socket.create_connection(("127.0.0.1", 1))


def calls_the_node():
    return socket.socket(socket.AF_UNIX)


def reads_home():
    return open(HOME + "/secret").read()


def lists_home():
    return os.listdir(HOME)


def reads_the_node():
    return open(f"/proc/{os.getppid()}/environ").read()


def writes():
    return open(HOME + "/left", "w")


def forks():
    return os.fork()


def runs_programs():
    os.execv("/bin/true", ["true"])


def kills_the_node():
    os.kill(os.getppid(), 9)


def grows_the_shared_memory():
    os.ftruncate(3, 1 << 40)


def fills_memory():
    return [torch.ones(1 << 26) for _ in range(1000)]


def dies():
    os._exit(3)


def never_ends():
    threading.Event().wait()
'''


def at_home(home: str) -> bytes:
    """The code, which knows where the home folder is."""
    return f"HOME = {home!r}\n".encode() + CODE
