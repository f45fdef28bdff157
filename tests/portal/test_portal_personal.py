"""The personal data of an account, for its owner."""

from __future__ import annotations

import json

from portal_site import ALICE, PASSWORD, Browser, Site
from test_portal_passwords import generated

from mailauth.accounts.history import audit


async def test_h5_ones_data_takes_proof_and_comes_as_a_file(site: Site, alice: Browser) -> None:
    await generated(alice, "phone")
    await alice.get("/security/data")
    proof = await alice.follow(await alice.post("/security/data"))
    assert "Download all that is kept about your account" in proof.text
    refused = await alice.post(proof.path, way="web-password", password="wrong")
    assert refused.status == 422
    answer = await alice.post(proof.path, way="web-password", password=PASSWORD)
    assert answer.response.headers["content-disposition"] == 'attachment; filename="account-data.json"'
    assert answer.response.headers["cache-control"] == "no-store"
    told = json.loads(answer.html)
    assert told["account"]["login"] == ALICE
    assert [one["label"] for one in told["app_passwords"]] == ["phone"]
    assert "plain:" not in answer.html  # how tests write a hash
    assert "personal-data-exported" in {row.kind for row in audit(site.store, ALICE)}
    assert (await alice.post(proof.path, way="web-password", password=PASSWORD)).status == 410
