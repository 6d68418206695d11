"""Outputs with a target each need nothing of the contract: the loss makes them of the target."""

import bordered
import numpy as np
import torch
from squares import Squares

import segzoo
from segzoo.engine.settings import Settings


def test_a_border_learns_by_a_target_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGZOO_MODELS", "bordered=bordered:BORDERED")
    settings = Settings(device="cpu", workers=0, quiet=True, eval_every=120)
    data, val = Squares(16), Squares(4)
    done = segzoo.train("bordered", data, val=val, run=tmp_path / "run", settings=settings)
    found = {"things": [], "borders": []}
    for number in range(4):
        sample = val[number]
        x = torch.from_numpy(sample["image"].copy()).permute(2, 0, 1)[None] / 255
        target = torch.from_numpy(sample["target"].copy())[None, None].float()
        with torch.inference_mode():
            heads = done.model.network(x, all_heads=True)
        for name, head, truth in zip(
            found, heads, (target, bordered.border_of(target)), strict=True
        ):
            found[name].append(((head > 0) & (truth > 0)).sum() / ((head > 0) | (truth > 0)).sum())
        mask = done.model.predict(sample["image"]).mask > 0
        assert np.array_equal(mask, (heads[0][0, 0] > 0).numpy())
    assert float(np.mean(found["things"])) > 0.9
    assert float(np.mean(found["borders"])) > 0.6
    notes = (tmp_path / "run/metrics.jsonl").read_text()
    assert '"things"' in notes and '"borders"' in notes
