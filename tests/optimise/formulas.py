"""The optimisers' formulas, written once more: textbook NumPy, nothing in place, nothing shared with the package."""

from __future__ import annotations

import numpy as np


def sgd(δ, h, s):
    return h["η"] * δ


def momentum(δ, h, s):
    s["v"] = h["ρ"] * s.get("v", 0) - h["η"] * δ
    return -s["v"]


def nesterov(δ, h, s):
    v = s.get("v", np.zeros_like(δ))
    d = h["ρ"] ** 2 * v - (1 + h["ρ"]) * h["η"] * δ
    s["v"] = h["ρ"] * v - h["η"] * δ
    return -d


def rmsprop(δ, h, s):
    s["a"] = h["ρ"] * s.get("a", 0) + (1 - h["ρ"]) * δ**2
    return h["η"] * δ / (np.sqrt(s["a"]) + h["ϵ"])


def adagrad(δ, h, s):
    s["a"] = s.get("a", 0) + δ**2
    return h["η"] * δ / (np.sqrt(s["a"]) + h["ϵ"])


def adadelta(δ, h, s):
    s["a"] = h["ρ"] * s.get("a", 0) + (1 - h["ρ"]) * δ**2
    step = δ * np.sqrt(s.get("s", 0) + h["ϵ"]) / np.sqrt(s["a"] + h["ϵ"])
    s["s"] = h["ρ"] * s.get("s", 0) + (1 - h["ρ"]) * step**2
    return step


def _moments(δ, h, s):
    s["m"] = h["β1"] * s.get("m", 0) + (1 - h["β1"]) * δ
    s["u"] = h["β2"] * s.get("u", 0) + (1 - h["β2"]) * δ**2
    s["Π1"] = s.get("Π1", 1) * h["β1"]
    s["Π2"] = s.get("Π2", 1) * h["β2"]


def adam(δ, h, s):
    _moments(δ, h, s)
    return h["η"] * (s["m"] / (1 - s["Π1"])) / (np.sqrt(s["u"] / (1 - s["Π2"])) + h["ϵ"])


def adamax(δ, h, s):
    _moments(δ, h, s)
    s["max"] = np.maximum(h["β2"] * s.get("max", 0), np.abs(δ))
    return h["η"] * (s["m"] / (1 - s["Π1"])) / (s["max"] + h["ϵ"])


def amsgrad(δ, h, s):
    _moments(δ, h, s)
    s["w"] = np.maximum(s.get("w", 0), s["u"])
    return h["η"] * s["m"] / (np.sqrt(s["w"]) + h["ϵ"])


def nadam(δ, h, s):
    _moments(δ, h, s)
    β1, Π1, Π2 = h["β1"], s["Π1"], s["Π2"]
    ahead = β1 * s["m"] / (1 - β1 * Π1) + (1 - β1) * δ / (1 - Π1)
    return h["η"] * ahead / (np.sqrt(s["u"] / (1 - Π2)) + h["ϵ"])


STEPS = {
    "SGD": sgd,
    "Momentum": momentum,
    "Nesterov": nesterov,
    "RMSProp": rmsprop,
    "ADAGrad": adagrad,
    "ADADelta": adadelta,
    "ADAM": adam,
    "ADAMW": adam,
    "AdaMax": adamax,
    "AMSGrad": amsgrad,
    "NADAM": nadam,
}


def trajectory(name, ps, gradients, dials):
    """The parameters after each update.

    ps: arrays; gradients: for each update one array per parameter; dials: for each update name → value.
    """
    ps = [np.array(p, np.float64) for p in ps]
    states = [{} for _ in ps]
    path = []
    for n, (δs, h) in enumerate(zip(gradients, dials, strict=True)):
        norm = np.sqrt(sum((δ**2).sum() for δ in δs))
        inverse = 1 / (1 + h["decay"] * n)
        for i, δ in enumerate(δs):
            if norm > h["clipnorm"]:
                δ = δ * h["clipnorm"] / norm
            δ = np.clip(δ, -h["clip"], h["clip"])
            if name != "ADAMW":
                δ = δ + h["weightdecay"] * ps[i]
            if name in ("SGD", "Momentum", "Nesterov"):
                step = STEPS[name](δ * inverse, h, states[i])
            else:
                step = STEPS[name](δ, h, states[i]) * inverse
            if name == "ADAMW":
                step = step + h["η"] * h["weightdecay"] * ps[i] * inverse
            ps[i] = ps[i] - step
        path.append([p.copy() for p in ps])
    return path
