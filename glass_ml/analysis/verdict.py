"""The answer in plain words: does the ensemble fit, is it like the reference structures, how sure are we.

It is drawn from the metrics of an inversion alone, which hold the reference descriptors of its material, by the
thresholds declared here, in `references` and in `diversity`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from ase.data import atomic_numbers, covalent_radii

from glass_ml.analysis.diversity import SAME
from glass_ml.analysis.references import (
    SAME_DENSITY,
    Described,
    Distance,
    Group,
    Level,
    References,
    density_difference,
    mean,
)  # fmt: skip
from glass_ml.observables.kinds import has_role, kinds

Question = Literal["fit", "realism", "certainty"]

QUESTIONS: dict[Question, str] = {
    "fit": "Does it fit?",
    "realism": "Is it like the reference structures?",
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
"""A held-out measurement is predicted if its R is below this multiple of the worst fitted R (or below R_GOOD), and not
above R_FAIR."""

RADII_RATIO = 0.7
"""No two atoms come closer than this fraction of the sum of their covalent radii (N2 0.77, P=O 0.86, Si-O 0.92)."""

BOND_RATIO = 0.84
"""Where the material is unknown, the same as a fraction of a pair's mean bond length: Si-Si 1.98 Å, Si-O 1.36 Å."""

SHORTEST_RATIO = 0.92
"""Where it is known, the same as a fraction of the shortest bond of a pair in the reference structures."""

OUTSIDE_FAIR = 0.05
"""Share of environments beyond a surrogate's training data above which its spectra are extrapolations."""

CRYSTALLINE_NOTED = 0.15
"""Share of atoms in crystalline surroundings from which on the reference structures are hardly a glass."""

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
    """Judge an inversion from its metrics (the content of `metrics.json`, its `references` among them).

    Raises:
        InputError: the references are of a later version of the record, or malformed.
    """
    measurements = metrics.get("measurements", {})
    references = References.read(metrics.get("references"))
    fitted = tuple(name for name, m in measurements.items() if m.get("use", "fit") == "fit")
    held_out = tuple(name for name in measurements if name not in fitted)
    statements = [
        *_fit(measurements, fitted),
        *_realism(metrics.get("structure", {}), references),
        *_certainty(metrics, measurements, fitted, held_out),
    ]
    levels: dict[Question, Level] = {q: _worst([s.level for s in statements if s.question == q]) for q in QUESTIONS}
    if references is None and levels["realism"] == "good":
        levels["realism"] = "none"  # what holds for any material says nothing of this one
    return Verdict(
        _worst([levels["fit"], levels["realism"]]),
        _headline(levels, fitted, references),
        levels,
        tuple(statements),
        fitted,
        held_out,
    )


def _headline(levels: Mapping[Question, Level], fitted: tuple[str, ...], references: References | None) -> str:
    subject = "the measurement" if len(fitted) == 1 else "the measurements"
    fit = {
        "good": f"The structures fit {subject}",
        "fair": f"The structures fit {subject} roughly",
        "poor": f"The structures do not fit {subject}",
        "none": "Nothing was fitted",
    }[levels["fit"]]
    noun = references.noun if references else "reference structures"
    realism = {
        "good": f"are like the {noun}",
        "fair": f"differ somewhat from the {noun}",
        "poor": f"are unlike the {noun}" if references else "are not possible as they are",
        "none": f"could not be compared with the {noun}" if references else "nothing is known to judge them by",
    }[levels["realism"]]
    joint = ", but" if (levels["fit"] == "good") != (levels["realism"] == "good") else " and"
    subject = "the structures " if levels["fit"] == "none" and not realism.startswith("nothing") else ""
    return f"{fit}{joint} {subject}{realism}."


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


def _realism(structure: Described, references: References | None) -> list[Statement]:
    if not structure:
        return [Statement("realism", "none", "The structures were not described.")]
    elements = sorted({n.split(".")[1] for n in structure if n.startswith("coordination.") and "-" not in n})
    if references is not None and elements != sorted(references.elements):
        text = f"These are structures of {', '.join(elements)}, the {references.noun} of"
        return [Statement("realism", "poor", f"{text} {', '.join(references.elements)}."), _contacts(structure, {})]
    group, apart = references.nearest(structure) if references is not None else (None, [])
    found = [_contacts(structure, group.descriptors if group else {})]
    if not any(mean(structure, f"coordination.{element}") for element in elements):
        return [*found, Statement("realism", "poor", "No bonds were found: the atoms form no first shell.")]
    if references is None or group is None:
        text = "Nothing is known of this material to judge by: the model's card has no reference structures."
        text += " Coordination, angles and rings are given, but not judged."
        found.append(Statement("realism", "none", text))
        if "order.crystalline" in structure:
            text = f"{mean(structure, 'order.crystalline'):.0%} of the atoms are in crystalline surroundings."
            found.append(Statement("realism", "none", text))
        return found
    return [*found, *_likeness(apart, references.noun), _judged_by(structure, group, references)]


def _contacts(structure: Described, reference: Described) -> Statement:
    """Whether any two atoms are closer than in the reference structures, or than radii and bond lengths allow."""
    bad, shown = [], []
    for name in (n[9:] for n in structure if n.startswith("shortest.")):
        shortest = mean(structure, f"shortest.{name}")
        floor = RADII_RATIO * sum(float(covalent_radii[atomic_numbers[s]]) for s in name.split("-"))
        known, bond = reference.get(f"shortest.{name}"), f"bond.{name}.mean"
        if known and bond in reference:
            floor = SHORTEST_RATIO * known["mean"] - 2 * known["std"]
        elif bond in structure:
            floor = max(floor, BOND_RATIO * mean(structure, bond))
        if bond in structure:
            shown.append(f"{name} {shortest:.2f} Å")
        if shortest < floor:
            bad.append(f"{name} {shortest:.2f} Å where {floor:.2f} Å is the least to expect")
    if bad:
        return Statement("realism", "poor", f"Atoms are too close: {'; '.join(bad)}.")
    text = f" (shortest {', '.join(shown)}, mean over replicas)" if shown else ""
    return Statement("realism", "good", f"No atoms are too close{text}.")


def _likeness(apart: list[Distance], noun: str) -> list[Statement]:
    """What is as in the reference structures and what is not; their numbers in brackets."""
    like = {"good": "as in", "fair": "roughly as in", "poor": "unlike"}
    subjects: dict[str, list[Distance]] = {}
    for distance in apart:
        subjects.setdefault(distance.subject, []).append(distance)
    found = []
    for subject, own in subjects.items():
        level = _worst([d.level for d in own])
        numbers = ", ".join(d.numbers for d in own)
        found.append(Statement("realism", level, f"{subject} {like[level]} the {noun}: {numbers}."))
    return found


def _judged_by(structure: Described, group: Group, references: References) -> Statement:
    """Against what structures were judged: they may be better or worse than the material."""
    source = f"{group.file} ({group.potential})" if group.potential else group.file
    number = f"{group.structures} structure{'s' if group.structures > 1 else ''}"
    text = f"Numbers in brackets: {references.noun}, {number} of {source}, {group.atoms // group.frames} atoms each"
    density = mean(structure, "density")
    if density and density_difference(density, group) > SAME_DENSITY:
        low, high = group.density
        theirs = f"{low:.4f}" if high - low < 1e-4 else f"{low:.4f}-{high:.4f}"
        text += f"; their density is {theirs} atoms/Å³, that of these structures {density:.4f}"
    ordered = mean(group.descriptors, "order.crystalline") if "order.crystalline" in group.descriptors else 0.0
    if ordered > CRYSTALLINE_NOTED:
        text += f"; {ordered:.0%} of their atoms are in crystalline surroundings"
    return Statement("realism", "none", f"{text}. How real they are themselves is not judged.")


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
        limit = min(max(R_GOOD, VALIDATION_FACTOR * worst), R_FAIR)
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
