"""No shipped config lets invented credentials through without end: each is flooded."""

from __future__ import annotations

from pathlib import Path
from time import monotonic

import pytest
import yaml

from tests.support.messages import answer, get
from tests.support.origin import answering

ROOT = Path(__file__).parents[2]
PER_SECOND = 60  # of one address, and at once
README = (ROOT / "README.md").read_text()
CONFIGS = {
    **{path.name: path.read_text() for path in sorted((ROOT / "config").glob("*.yaml"))},
    **{str(path.relative_to(ROOT)): path.read_text() for path in sorted(ROOT.glob("deploy/compose/*.yaml"))},
    **{
        str(path.relative_to(ROOT)): path.read_text()
        for path in sorted(ROOT.glob("deploy/kubernetes/*/weir.yaml"))
    },
    "README.md": next(block for block in README.split("```yaml\n")[1:] if "limits:" in block).split("```")[0],
    "values.yaml": yaml.safe_dump(
        yaml.safe_load((ROOT / "deploy" / "helm" / "weir" / "values.yaml").read_text())["config"]
    ),
}


def invented(number: int) -> bytes:
    """Another credential each time: new, spelled otherwise, two at once, in another place."""
    token = f"invented-{number}"
    return get(
        *[
            [f"X-Auth-Token: {token}"],
            [f"Authorization: bEaReR \t {token}"],
            [f"X-Auth-Token: {token}", f"Authorization: Bearer {token}"],
            ["X-Auth-Token: constant", f"Authorization: Bearer {token}"],
        ][number % 4]
    )


@pytest.mark.parametrize("name", CONFIGS)
async def test_flood_of_invented_credentials_ends_at_the_address(start_weir, start_origin, connect, name):
    """As many reach the service as one address may try; and who is known goes on."""
    settings = yaml.safe_load(CONFIGS[name])
    known = b"X-Auth-Token: known"
    origin = await start_origin(
        answering(lambda request: answer(200 if request.value("X-Auth-Token") == b"known" else 401))
    )
    weir = start_weir({key: settings[key] for key in ("limits", "plans") if key in settings}, upstream=origin)
    wire = await connect(weir)
    await wire.send(get(known))
    assert (await wire.response()).status == 200
    began = monotonic()
    for part in range(0, 160, 40):
        await wire.send(b"".join(invented(number) for number in range(part, part + 40)))
        seen = [(await wire.response()).status for _ in range(40)]
    reached = len(origin.requests) - 1

    assert set(seen) <= {401, 429}
    assert reached <= PER_SECOND * (1 + monotonic() - began) + 1
    await wire.send(get(known))
    assert (await wire.response()).status == 200
