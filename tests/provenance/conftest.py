"""The fixtures of `traced_project`."""

from traced_project import project, store, template, tools

__all__ = ["project", "store", "template", "tools"]
