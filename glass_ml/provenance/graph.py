"""What was made of what, as a graph: data, models, measurements, sweeps and structures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Kind = Literal["data", "measurement", "model", "sweep", "structures"]


@dataclass
class Node:
    """A thing that was made, or of which something was made.

    Attributes:
        kind: what it is.
        identity: DVC's md5 of data, SHA-256 of a measurement or structure file, `model_sha256` of a model, the study of
            a sweep.
        names: what people call it, paths and URIs, the best first.
        facts: what else is known of it.
    """

    kind: Kind
    identity: str
    names: list[str] = field(default_factory=list)
    facts: dict[str, str] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Its name in the graph."""
        return f"{self.kind}:{self.identity}"

    @property
    def title(self) -> str:
        """What to call it in one line."""
        return self.names[0] if self.names else self.identity[:12]

    @property
    def note(self) -> str:
        """Identity and facts in one line."""
        label = {"data": "md5 ", "sweep": "study "}.get(self.kind, "sha256 ")
        return ", ".join([label + self.identity[:12], *(f"{k} {v}" for k, v in self.facts.items() if v)])


@dataclass
class Graph:
    """Nodes by key, and for each what was made of it."""

    nodes: dict[str, Node] = field(default_factory=dict)
    made: dict[str, list[str]] = field(default_factory=dict)

    def add(self, kind: Kind, identity: str, *names: str, **facts: str) -> str:
        """The key of a node, made or completed; names and facts that are there already stay first."""
        node = Node(kind, identity)
        node = self.nodes.setdefault(node.key, node)
        node.names += [name for name in dict.fromkeys(names) if name and name not in node.names]
        for key, value in facts.items():
            if value:
                node.facts.setdefault(key, value)
        return node.key

    def link(self, source: str, result: str) -> None:
        """Say that one node was made of another."""
        made = self.made.setdefault(source, [])
        if result not in made:
            made.append(result)

    def edges(self) -> list[tuple[str, str]]:
        """All (source, result)."""
        return [(source, result) for source, results in self.made.items() for result in results]

    def as_dict(self) -> dict[str, list[Any]]:
        """Nodes and edges as JSON takes them."""
        nodes = [{"key": key, **asdict(node)} for key, node in self.nodes.items()]
        return {"nodes": nodes, "edges": [{"source": source, "result": result} for source, result in self.edges()]}

    def descendants(self, keys: Iterable[str]) -> Graph:
        """The part that descends from some nodes, themselves included."""
        found, waiting = set[str](), list(keys)
        while waiting:
            key = waiting.pop()
            if key not in found:
                found.add(key)
                waiting += self.made.get(key, [])
        nodes = {key: node for key, node in self.nodes.items() if key in found}
        made = {s: [r for r in results if r in found] for s, results in self.made.items() if s in found}
        return Graph(nodes, made)

    def tree(self, keys: Iterable[str]) -> Iterator[str]:
        """Lines of text: the nodes, and what was made of them below; what stands above already is named only."""
        shown = set[str]()
        for key in keys:
            yield from self._branch(key, "", "", shown)

    def _branch(self, key: str, first: str, rest: str, shown: set[str]) -> Iterator[str]:
        node, results = self.nodes[key], self.made.get(key, [])
        if key in shown:
            yield f"{first}{node.title}  (above)"
            return
        shown.add(key)
        yield f"{first}{node.title}  {node.note}"
        for name in node.names[1:]:
            yield f"{rest}{'│' if results else ' '}  also {name}"
        for k, result in enumerate(results):
            last = k == len(results) - 1
            yield from self._branch(result, rest + ("└─ " if last else "├─ "), rest + ("   " if last else "│  "), shown)
