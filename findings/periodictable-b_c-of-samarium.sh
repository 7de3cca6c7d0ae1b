#!/usr/bin/env bash
# periodictable 2.1.0: `element.neutron.b_c` of elements with resonances at thermal energies.
#
# Papers and tables quote bound coherent scattering lengths for thermal neutrons (1.798 Å): Sm 0.80 - 1.65i, Gd
# 6.5 - 13.82i, Eu 7.22 - 1.26i fm (Sears, Neutron News 3, 26, 1992). One should think that b_c is this real part, as it
# is for other elements (Cd 4.87 by Sears, Si 4.15). What happens: it is 0.0 for Sm, 9.5 for Gd and 5.3 for Eu, with no
# remark. The thermal values come from scattering_by_wavelength(1.798).
# Instead: take scattering_by_wavelength at the wavelength of the experiment.
set -euo pipefail
work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT && cd "$work"
python3 -m venv venv
venv/bin/python -m pip install -q --disable-pip-version-check periodictable==2.1.0 numpy==2.4.6 pyparsing==3.3.3 >/dev/null
cat >run.py <<'PY'
import periodictable

found = {}
for name in ("Sm", "Gd", "Eu", "Cd", "Si"):
    neutron = getattr(periodictable, name).neutron
    found[name] = (neutron.b_c, round(float(neutron.scattering_by_wavelength(1.798)[0].real), 2))
    print(f"{name}: b_c {found[name][0]} fm, at 1.798 Å {found[name][1]} fm")
assert found["Sm"] == (0.0, 0.77) and found["Gd"] == (9.5, 5.48) and found["Eu"] == (5.3, 7.16)
assert found["Cd"][0] == 4.83 and round(found["Si"][0], 2) == found["Si"][1] == 4.15
print("as found")
PY
venv/bin/python run.py
