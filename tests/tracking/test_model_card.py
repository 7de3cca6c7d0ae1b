"""What people have written into the records stays text on a model's page."""

import json
from pathlib import Path

from traced_project import write_prior

from glass_ml.tracking.model_card import card_text

HOSTILE = "a | b\n# Top <script>alert(1)</script> [x](http://example.org) `c` *d* \\| &amp;"


def test_a_text_adds_no_column_heading_link_or_element(tmp_path):
    write_prior(tmp_path, system=HOSTILE)
    card = json.loads(Path(tmp_path, "model.json").read_text())
    tags = {"origin": HOSTILE, "promoted/champion": HOSTILE, f"evaluation/{HOSTILE}/r_factor": HOSTILE}
    text = card_text(card, tags)
    plain = card_text({**card, "system": "x"}, dict.fromkeys(("origin", "promoted/champion"), "x"))
    headings = [line for line in text.splitlines() if line.startswith("#")]
    assert headings[1:] == [line for line in plain.splitlines() if line.startswith("#")][1:]
    assert "<script" not in text and "](http" not in text.replace("\\]", "") and "&amp;amp;" in text
    (origin,) = (line for line in text.splitlines() if line.startswith("| origin"))
    assert origin.replace("\\\\", "").replace("\\|", "").count("|") == 3
