"""The one error that means: the user's input is at fault."""

import re

PASSWORD = re.compile(r"(?<=://)([^/\s:@]*):[^/\s]*@|([?&]password=)[^&\s]*")


def without_passwords(text: str) -> str:
    """A text in which no URI shows its password."""
    return PASSWORD.sub(lambda found: f"{found[1]}@" if found[2] is None else f"{found[2]}...", text)


class InputError(Exception):
    """Input that cannot be used.

    The command line prints it as one line and exits with status 2. Passwords in URIs are left out.

    Args:
        what: what is wrong, naming the value ("density -0.05 is not positive").
        where: file, and line or key, that holds it ("target.yaml: density").
        mend: what to do about it ("give atoms/Å^3 or a text such as '2.28 g/cm3'").
    """

    def __init__(self, what: str, where: str = "", mend: str = ""):
        self.what, self.where, self.mend = map(without_passwords, (what, where, mend))
        super().__init__(str(self))

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        return f"{text} ({self.mend})" if self.mend else text
