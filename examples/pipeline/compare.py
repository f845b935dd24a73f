"""Compare two models, and test whether the difference may be due to chance."""

from __future__ import annotations

from math import comb

from machinable import Component


class Compare(Component):
    """Write `comparison.json` from two required evaluations, `first` and `second`."""

    def on_execute(self) -> None:
        """Run a sign test on the images that only one of the models classifies correctly."""
        right = {}
        for name in ("first", "second"):
            evaluated = self.requires[name].read("answers.npz")
            right[name] = evaluated["answers"] == evaluated["labels"]
            self.record[name] = float(right[name].mean())
        only_first = int((right["first"] & ~right["second"]).sum())
        only_second = int((right["second"] & ~right["first"]).sum())
        self.record["chance"] = chance(only_first, only_second)
        self.record.save()
        self.store.write(
            "comparison.json",
            {
                **{name: float(answers.mean()) for name, answers in right.items()},
                "only_first": only_first,
                "only_second": only_second,
                "chance": chance(only_first, only_second),
            },
        )


def chance(one: int, other: int) -> float:
    """Return the two-sided p-value of a split into `one` and `other`, if both sides are equally likely."""
    total, smaller = one + other, min(one, other)
    return min(1.0, 2 * sum(comb(total, k) for k in range(smaller + 1)) / 2**total)
