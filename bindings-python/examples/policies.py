# %% [markdown]
# # Which placement policy wastes the least?
#
# A walk through `fogcore.simulate`, cell by cell: editors and Jupyter (with jupytext) open this
# file as a notebook, and `python policies.py` runs it from top to bottom.

# %%
from __future__ import annotations

import sys

from fogcore import simulate

# %% [markdown]
# A trace is nodes, and the tasks that come to them. This one is made up, and everything that comes
# of it says so; `simulate.Trace.read("nodes.csv", "tasks.csv")` reads one that was recorded.

# %%
trace = simulate.Trace.sample(nodes=40, tasks=400, seed=1)
print(trace, "with", trace.gpus, "GPUs")

# %% [markdown]
# Tasks drawn from it arrive and never leave, until they ask for 130 % of all GPUs. A good policy
# leaves no GPU half used where nothing fits any more. In a notebook, the report is a table and a
# picture.

# %%
report = simulate.run(trace, ["fgd", "best_fit", "fog"], seeds=5)
print(report)

# %% [markdown]
# How much better is the best than the worst? Differences of less than what seeds make are none.

# %%
best, worst = (
    choose(report.rows.items(), key=lambda row: row[1].allocated_at_130) for choose in (max, min)
)
gap = best[1].allocated_at_130 - worst[1].allocated_at_130
print(f"{best[0]} allocates {gap:.2f} points more than {worst[0]} when 130 % has arrived")

# %% [markdown]
# In its own time, with tasks that wait, end and lose their nodes. When nodes leave is made up, too.

# %%
replayed = simulate.run(trace, ["fog"], replay=True, churn_hours=24)["fog"].replay
assert replayed is not None
print(f"{replayed.done} tasks were done, {replayed.lost} attempts were lost with their nodes;")
print(
    f"the mean wait was {replayed.wait_seconds:.1f} s (churn made up: {replayed.synthetic_churn})"
)

# %% [markdown]
# The curves, for those without a notebook.

# %%
if len(sys.argv) > 1:
    with open(sys.argv[1], "w") as file:
        file.write(report.svg)
