"""The answer in plain words: does the ensemble fit, is it realistic, how sure are we.

It is drawn from the metrics of an inversion alone, by the thresholds declared here and the one of `diversity`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from ase.data import atomic_numbers, covalent_radii

from glass_ml.analysis.diversity import SAME
from glass_ml.observables.kinds import has_role, kinds

Level = Literal["good", "fair", "poor", "none"]
Question = Literal["fit", "realism", "certainty"]

QUESTIONS: dict[Question, str] = {
    "fit": "Does it fit?",
    "realism": "Is it realistic?",
    "certainty": "How sure are we?",
}

CHI2_GOOD = 1.5
"""Reduced chi-square up to which a fit agrees with its data within the stated uncertainty."""

CHI2_SUSPICIOUS = 0.1
"""Reduced chi-square below which the stated uncertainty is too large, or the noise itself was fitted."""

R_GOOD, R_FAIR = 0.10, 0.25
"""R-factors up to which a fit is close, and fair: published reverse Monte Carlo of a-Si reaches 0.16, slow quenches
of a-Si and a-SiO2 0.17 to 0.21, fast ones 0.23 to 0.37."""

VALIDATION_FACTOR = 1.5
"""A held-out measurement is predicted if its R is below this multiple of the worst fitted R (or below R_GOOD)."""

RADII_RATIO = 0.7
"""No two atoms come closer than this fraction of the sum of their covalent radii (N2 0.77, P=O 0.86, Si-O 0.92)."""

BOND_RATIO = 0.84
"""The shortest bond of a pair, as a fraction of its mean length: Si-Si 1.98 Å, Si-O 1.36 Å."""

NETWORK_DEGREE = 6.5
"""Mean coordination above which a structure is packed; coordination and angles are then broad by nature."""

NFOLD_GOOD, NFOLD_FAIR = 0.90, 0.80
"""Fraction of an element's atoms that have its most frequent coordination: slow quenches reach 0.93-0.99."""

ANGLE_GOOD, ANGLE_FAIR = 14.5, 18.0
"""Spread of a bond angle, degrees: 11-14 in good amorphous networks, 18-20 in fast quenches."""

SHARP_GOOD, SHARP_FAIR = 0.01, 0.04
"""Fraction of bond angles below 75 degrees; reverse Monte Carlo without restraints gives 0.13-0.21."""

CRYSTALLINE_FAIR = 0.15
"""Fraction of atoms in crystalline surroundings above which a structure is hardly a glass."""

OUTSIDE_FAIR = 0.05
"""Share of environments beyond a surrogate's training data above which its spectra are extrapolations."""

REPLICAS_GOOD = 4
"""Replicas from which on a spread means something."""

COPIED_GOOD, COPIED_FAIR = 0.03, 0.06
"""Fraction of a structure's surroundings that training structures have too: up to 0.02 by chance, 0.10 where half of
the structure is copied."""


@dataclass(frozen=True)
class Statement:
    """One finding: which question it bears on, how good it is, and the sentence."""

    question: Question
    level: Level
    text: str


@dataclass(frozen=True)
class Verdict:
    """The whole answer.

    Attributes:
        level: of fit and realism together, the worse of the two.
        headline: one sentence.
        levels: of each question; the worst of its findings.
        statements: the findings, in the order of the questions.
        fitted: names of the measurements that were fitted.
        held_out: names of those that were only compared with.
    """

    level: Level
    headline: str
    levels: dict[Question, Level]
    statements: tuple[Statement, ...]
    fitted: tuple[str, ...]
    held_out: tuple[str, ...]

    def about(self, question: Question) -> list[Statement]:
        """The findings on one question."""
        return [s for s in self.statements if s.question == question]

    def text(self) -> str:
        """The answer as plain text, a line per finding."""
        mark = {"good": "+", "fair": "~", "poor": "-", "none": "?"}
        lines = [self.headline]
        for question, title in QUESTIONS.items():
            lines += [title, *(f"  {mark[s.level]} {s.text}" for s in self.about(question))]
        return "\n".join(lines)


_ORDER: tuple[Level, ...] = ("good", "fair", "poor", "none")


def _worst(levels: list[Level]) -> Level:
    return max((x for x in levels if x != "none"), key=_ORDER.index, default="none")


def _grade(value: float, good: float, fair: float) -> Level:
    """Level of a value that is better when smaller."""
    return "good" if value <= good else "fair" if value <= fair else "poor"


def verdict(metrics: Mapping[str, Any]) -> Verdict:
    """Judge an inversion from its metrics (the content of `metrics.json`)."""
    measurements = metrics.get("measurements", {})
    fitted = tuple(name for name, m in measurements.items() if m.get("use", "fit") == "fit")
    held_out = tuple(name for name in measurements if name not in fitted)
    statements = [
        *_fit(measurements, fitted),
        *_realism(metrics.get("structure", {})),
        *_certainty(metrics, measurements, fitted, held_out),
    ]
    levels: dict[Question, Level] = {q: _worst([s.level for s in statements if s.question == q]) for q in QUESTIONS}
    return Verdict(
        _worst([levels["fit"], levels["realism"]]),
        _headline(levels, fitted),
        levels,
        tuple(statements),
        fitted,
        held_out,
    )


def _headline(levels: Mapping[Question, Level], fitted: tuple[str, ...]) -> str:
    subject = "the measurement" if len(fitted) == 1 else "the measurements"
    fit = {
        "good": f"The structures fit {subject}",
        "fair": f"The structures fit {subject} roughly",
        "poor": f"The structures do not fit {subject}",
        "none": "Nothing was fitted",
    }[levels["fit"]]
    realism = {
        "good": "look realistic",
        "fair": "have more defects than a good glass",
        "poor": "are not realistic",
        "none": "could not be judged for realism",
    }[levels["realism"]]
    joint = ", but" if (levels["fit"] == "good") != (levels["realism"] == "good") else " and"
    return f"{fit}{joint} {'the structures ' if levels['fit'] == 'none' else ''}{realism}."


def _fit(measurements: Mapping[str, Any], fitted: tuple[str, ...]) -> list[Statement]:
    if not fitted:
        return [Statement("fit", "none", "No measurement was fitted: these are samples of the prior.")]
    found = []
    for name in fitted:
        r, chi2 = float(measurements[name]["r_factor"]), float(measurements[name]["chi2_reduced"])
        if has_role(measurements[name].get("kind"), "count"):
            found.append(_kept(name, chi2))
            continue
        level = "good" if chi2 <= CHI2_GOOD else _grade(r, R_GOOD, R_FAIR)
        if chi2 <= CHI2_GOOD:
            text = f"{name} agrees within its stated uncertainty: reduced χ² {chi2:.2g}, R = {r:.3f}."
        else:
            words = {"good": "closely", "fair": "fairly", "poor": "poorly"}[level]
            text = f"{name} is met {words}: R = {r:.3f}, beyond its stated uncertainty (reduced χ² {chi2:.3g})."
        if chi2 < CHI2_SUSPICIOUS:
            text += " So small a χ² means that the uncertainty is overstated, or that noise was fitted."
        found.append(Statement("fit", level, text))
    return found


def _kept(name: str, chi2: float) -> Statement:
    """Whether a restraint is kept."""
    level = _grade(chi2, CHI2_GOOD, 4 * CHI2_GOOD)
    words = {"good": "is kept", "fair": "is nearly kept", "poor": "is not kept"}[level]
    return Statement("fit", level, f"{name} {words}: reduced χ² {chi2:.2g}.")


def _mean(structure: Mapping[str, Any], name: str) -> float | None:
    return float(structure[name]["mean"]) if name in structure else None


def _realism(structure: Mapping[str, Any]) -> list[Statement]:
    if not structure:
        return [Statement("realism", "none", "The structures were not described.")]
    found = [_distances(structure)]
    elements = {n.split(".")[1] for n in structure if n.startswith("coordination.") and "-" not in n}
    degrees = {e: _mean(structure, f"coordination.{e}") or 0.0 for e in sorted(elements)}
    if not degrees or max(degrees.values()) == 0:
        return [*found, Statement("realism", "poor", "No bonds were found: the atoms form no first shell.")]
    if max(degrees.values()) > NETWORK_DEGREE:
        words = "a packed structure; its coordination and angles are broad by nature and are not judged."
        return [*found, Statement("realism", "none", f"{_list_degrees(degrees)}: {words}")]
    found += [_nfold(structure, element) for element in degrees]
    angles = {
        n[6:-7]: _mean(structure, n) or 0.0 for n in structure if n.startswith("angle.") and n.endswith(".spread")
    }
    for name, spread in angles.items():
        mean = _mean(structure, f"angle.{name}.mean")
        level = _grade(spread, ANGLE_GOOD, ANGLE_FAIR)
        words = {"good": "narrow", "fair": "rather broad", "poor": "broad"}[level]
        found.append(
            Statement("realism", level, f"{name} angles are {words}: {mean:.1f}° with a spread of {spread:.1f}°.")
        )
    sharp = _mean(structure, "angle.below75")
    if sharp is not None:
        level = _grade(sharp, SHARP_GOOD, SHARP_FAIR)
        words = {"good": "Hardly any", "fair": "Some", "poor": "Many"}[level]
        found.append(Statement("realism", level, f"{words} sharp angles: {sharp:.1%} below 75°."))
    crystalline = _mean(structure, "order.crystalline")
    if crystalline is not None and crystalline > CRYSTALLINE_FAIR:
        found.append(Statement("realism", "fair", f"{crystalline:.0%} of the atoms sit in crystalline surroundings."))
    return found


def _list_degrees(degrees: Mapping[str, float]) -> str:
    return ", ".join(f"{element} has {degree:.1f} neighbours" for element, degree in degrees.items())


def _distances(structure: Mapping[str, Any]) -> Statement:
    """Whether any two atoms are closer than radii and bond lengths allow."""
    bad, shown = [], []
    for name in (n[9:] for n in structure if n.startswith("shortest.")):
        shortest = _mean(structure, f"shortest.{name}") or 0.0
        floor = RADII_RATIO * sum(float(covalent_radii[atomic_numbers[s]]) for s in name.split("-"))
        bond = _mean(structure, f"bond.{name}.mean")
        if bond is not None:
            floor = max(floor, BOND_RATIO * bond)
            shown.append(f"{name} {shortest:.2f} Å")
        if shortest < floor:
            bad.append(f"{name} {shortest:.2f} Å where {floor:.2f} Å is the least to expect")
    if bad:
        return Statement("realism", "poor", f"Atoms are too close: {'; '.join(bad)}.")
    text = f" (shortest {', '.join(shown)}, mean over replicas)" if shown else ""
    return Statement("realism", "good", f"No atoms are too close{text}.")


def _nfold(structure: Mapping[str, Any], element: str) -> Statement:
    start = f"nfold.{element}."
    fractions = {int(n[len(start) :]): _mean(structure, n) or 0.0 for n in structure if n.startswith(start)}
    n, fraction = max(fractions.items(), key=lambda item: item[1])
    level = _grade(1 - fraction, 1 - NFOLD_GOOD, 1 - NFOLD_FAIR)
    spread = structure[f"{start}{n}"]["std"]
    return Statement("realism", level, f"{fraction:.1%} ± {spread:.1%} of {element} atoms have {n} neighbours.")


def _certainty(
    metrics: Mapping[str, Any],
    measurements: Mapping[str, Any],
    fitted: tuple[str, ...],
    held_out: tuple[str, ...],
) -> list[Statement]:
    found = []
    n = int(metrics.get("n_structures", 1))
    diversity = metrics.get("diversity", {})
    least = diversity.get("min")
    apart = f"{diversity['mean']:.2f} on average, {least:.2f} at least (0: copies, 1: independent)" if diversity else ""
    if n == 1:
        found.append(Statement("certainty", "poor", "One structure only: nothing says how much others would differ."))
    elif least is not None and least < SAME:
        text = f"Some of the {n} replicas are copies of each other, and their spread says too little: they differ by"
        found.append(Statement("certainty", "poor", f"{text} {apart}."))
    else:
        level: Level = "good" if n >= REPLICAS_GOOD else "fair"
        distinct = f" The replicas are distinct: they differ by {apart}." if diversity else ""
        found.append(Statement("certainty", level, f"{n} replicas; ± is their standard deviation.{distinct}"))
    found += _copies(metrics.get("copies", {}))
    spectra = [name for name in fitted if not has_role(measurements[name].get("kind"), "count")]
    worst = max((float(measurements[name]["r_factor"]) for name in spectra), default=0.0)
    for name in held_out:
        if has_role(measurements[name].get("kind"), "count"):
            found.append(replace(_kept(name, float(measurements[name]["chi2_reduced"])), question="certainty"))
            continue
        r = float(measurements[name]["r_factor"])
        limit = max(R_GOOD, VALIDATION_FACTOR * worst)
        level = _grade(r, limit, 2 * limit)
        words = {"good": "is predicted", "fair": "is predicted roughly", "poor": "is missed"}[level]
        beside = f", fitted {worst:.3f}" if spectra else ""
        found.append(Statement("certainty", level, f"{name}, not fitted, {words}: R = {r:.3f}{beside}."))
    for name, m in measurements.items():
        if m.get("outside", 0.0) > OUTSIDE_FAIR:
            text = f"{m['outside']:.0%} of the environments are beyond what the surrogate of {name} was trained on"
            found.append(Statement("certainty", "fair", f"{text}: its spectrum is extrapolated there."))
    if not held_out:
        text = "No measurement was held out, so agreement with unseen data is unknown"
        found.append(Statement("certainty", "fair", f"{text}; mark one with use: validate to know."))
    found.append(Statement("certainty", "none", _not_fitted({measurements[name].get("kind") for name in fitted})))
    return found


def _not_fitted(fitted: set[str | None]) -> str:
    """Which descriptors come from prior and data together, and which were put in."""
    put_in = {kind.fixes for name, kind in kinds().items() if name in fitted}
    free = [name for name in ("Coordination", "angles", "rings") if name not in put_in]
    text = f"{', '.join(free[:-1])}{' and ' if len(free) > 1 else ''}{free[-1]}".capitalize()
    verb, they, come = ("were", "they", "come") if len(free) > 1 else ("was", "it", "comes")
    return f"{text} {verb} not fitted: {they} {come} from the prior and the data together."


def _copies(copies: Mapping[str, Any]) -> list[Statement]:
    """Whether structures repeat what the prior was trained on."""
    if "max" not in copies:
        reason = f": {copies['not_checked']}" if "not_checked" in copies else ""
        text = f"Whether the structures copy training data was not checked{reason}."
        return [Statement("certainty", "none", text)]
    level = _grade(copies["max"], COPIED_GOOD, COPIED_FAIR)
    against = f"{copies['independent']} independent training structures"
    if level == "good":
        text = f"No copies of training data: {copies['max']:.1%} of the surroundings or less, as chance gives"
        return [Statement("certainty", level, f"{text} ({against}).")]
    worst = list(copies["fraction"]).index(copies["max"])
    text = f"{copies['max']:.0%} of the surroundings in replica {worst} are copies of training structures"
    source = f"number {copies['nearest'][worst]} in {copies['training']}"
    return [Statement("certainty", level, f"{text}, mostly of {source} ({against}).")]
