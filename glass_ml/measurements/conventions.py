"""The many names of one function: conversions between the conventions of total scattering.

Everything is an affine map of one reduced function per space: G(r) = 4 pi rho r (g - 1) in real space and
F(Q) = Q (S - 1) in reciprocal space, which are each other's sine transform. Source: Keen, J. Appl. Cryst. 34, 172
(2001); G(r) here is Keen's G^PDF.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from ase.data import atomic_numbers

from glass_ml.errors import InputError
from glass_ml.observables.factors import BARN, neutron_length

CONVENTIONS: dict[str, str] = {
    "gr": "g(r) = 1 + G/(4 pi rho r)",
    "pdf": "G(r) = 4 pi rho r (g - 1), Å^-2",
    "dr": "D(r) = <b>^2 G(r), barn Å^-2",
    "tr": "T(r) = D(r) + 4 pi rho r <b>^2, barn Å^-2",
    "xray-sq": "S(Q) of X-rays, normalised by <f>^2",
    "xray-iq": "i(Q) = S(Q) - 1 of X-rays",
    "xray-fq": "F(Q) = Q (S - 1) of X-rays, 1/Å",
    "neutron-sq": "S(Q) of neutrons, normalised by <b>^2",
    "neutron-iq": "i(Q) = S(Q) - 1 of neutrons",
    "neutron-reduced": "Q (S - 1) of neutrons, 1/Å",
    "neutron-fq": "Keen's F(Q) = <b>^2 (S - 1), barn/sr/atom",
}
"""Name of a convention -> its formula. Those that are also kinds of measurement carry the same name."""

REAL = ("gr", "pdf", "dr", "tr")


def mean_length_squared(composition: Mapping[str, float]) -> float:
    """<b>^2 of a composition, barn."""
    total = sum(composition.values())
    mean = sum(amount * neutron_length(atomic_numbers[el]) for el, amount in composition.items()) / total
    return BARN * mean**2


def affine(
    convention: str, x: np.ndarray, density: float | None = None, composition: Mapping[str, float] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Factor a(x) and constant c(x), so that y = a * reduced + c, (n,) each.

    Raises:
        InputError: unknown convention, or a density or composition that it needs is missing.
    """
    if convention not in CONVENTIONS:
        raise InputError(f"unknown convention '{convention}'", "kind", f"one of {', '.join(CONVENTIONS)}")
    one, zero = np.ones_like(x), np.zeros_like(x)
    length = 1.0
    if convention in ("dr", "tr", "neutron-fq"):
        if not composition:
            raise InputError(f"'{convention}' needs the composition", "composition", "give it, such as Si=1,O=2")
        length = mean_length_squared(composition)
    if convention in ("gr", "tr"):
        if density is None:
            raise InputError(f"'{convention}' needs the number density", "density", "give atoms/Å^3 or 'X g/cm3'")
        slope = 4 * np.pi * density * x
        return (1 / slope, one) if convention == "gr" else (length * one, length * slope)
    if convention.endswith("-sq"):
        return 1 / x, one
    if convention.endswith("-iq"):
        return 1 / x, zero
    if convention == "neutron-fq":
        return length / x, zero
    return length * one, zero


def convert(
    x: np.ndarray,
    y: np.ndarray,
    source: str,
    to: str,
    *,
    density: float | None = None,
    composition: Mapping[str, float] | None = None,
    sigma: np.ndarray | None = None,
    grid: np.ndarray | None = None,
    lorch: bool = False,
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """A spectrum in another convention.

    Args:
        x: r (Å) or Q (1/Å), (n,), ascending and positive.
        y: values in the convention `source`, (n,).
        source, to: keys of `CONVENTIONS`.
        density: number density, atoms/Å^3, where g(r) or T(r) takes part.
        composition: element symbol -> amount, where <b>^2 takes part (D, T, Keen's F).
        sigma: standard deviations, (n,), taken as independent.
        grid: x of the result; needed between real and reciprocal space, where 0.02-20 Å or 0.1 1/Å-steps are usual.
        lorch: Lorch's window over the whole range of x in that transform.

    Returns:
        x, y and sigma (None if none was given) of the result. A transform covers the range of the data only: it takes
        the reduced function as zero beyond, and as linear from zero below.

    Raises:
        InputError: unknown convention, other radiation, missing density, composition or grid, x not positive.
    """
    radiations = {c.split("-")[0] for c in (source, to)} & {"xray", "neutron"}
    if len(radiations) > 1:
        raise InputError(
            f"'{source}' cannot become '{to}'", "kind", "another radiation weighs the elements otherwise: use a model"
        )
    if not (x > 0).all():
        raise InputError(f"x = {x.min():g} is not positive", "x", "leave out that point")
    factor, constant = affine(source, x, density, composition)
    reduced, error = (y - constant) / factor, None if sigma is None else sigma / np.abs(factor)
    if (source in REAL) != (to in REAL):
        if grid is None:
            raise InputError(
                f"'{source}' to '{to}' is a Fourier transform", "grid", "say which x the result shall have"
            )
        kernel = sine_kernel(x, grid, lorch=lorch) * (2 / np.pi if to in REAL else 1.0)
        reduced = kernel @ reduced
        error = None if error is None else np.sqrt(kernel**2 @ error**2)
        x = grid
    factor, constant = affine(to, x, density, composition)
    return x, factor * reduced + constant, None if error is None else np.abs(factor) * error


def sine_kernel(x: np.ndarray, grid: np.ndarray, *, lorch: bool = False) -> np.ndarray:
    """Matrix (m, n) of int f(x) sin(x z) dx for f given at x (n,), at z = `grid` (m,), by the trapezoidal rule."""
    knots = np.concatenate([[0.0], x])
    weight = np.zeros_like(knots)
    weight[1:] += 0.5 * np.diff(knots)
    weight[:-1] += 0.5 * np.diff(knots)
    kernel = np.sin(np.outer(grid, x)) * weight[1:]
    return kernel * np.sinc(x / x[-1]) if lorch else kernel
