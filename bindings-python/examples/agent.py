"""An agent that serves tasks: it counts words and shouts, and is paid for it.

python agent.py serve sqlite:fog.db laptop      # as often as you like, in other terminals
python agent.py ask sqlite:fog.db "some text"   # submits a task and pays for it
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
from collections import Counter

import fogcore


async def serve(database: str, name: str, concurrency: int) -> None:
    """Does tasks until it is asked to end."""
    rates = fogcore.Rates(per_task="0.01", per_cpu_hour="1")
    async with fogcore.Fog.open(database) as fog:
        node = await fog.register(fogcore.Node(name, owner=f"owner-of-{name}", rates=rates))

        @node.executor("count_words", timeout=60)
        async def count_words(task: fogcore.Task) -> dict[str, int]:
            words = task.payload.split()
            counts: Counter[str] = Counter()
            for number, word in enumerate(words):
                counts[word.lower()] += 1
                if number % 10_000 == 0:
                    task.progress(number / len(words))
                    # Others want to run as well.
                    await asyncio.sleep(0)
            return dict(counts.most_common(10))

        @node.executor("shout")
        def shout(task: fogcore.Task) -> str:
            if not isinstance(task.payload, str):
                raise fogcore.PermanentFailure("only texts can be shouted")
            return task.payload.upper()

        print(f"{name} serves; Ctrl-C ends it", flush=True)
        server = asyncio.ensure_future(node.serve_forever(concurrency))
        # A service manager asks with SIGTERM: what runs is given back, and another node does it.
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, server.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            await server


async def ask(database: str, text: str) -> None:
    """Has words counted, and tells who did it for how much."""
    async with fogcore.Fog.open(database) as fog:
        await fog.ledger.mint("me", "1")
        task = await fog.submit("count_words", text, budget="0.5", payer="me")
        print(await task.result())
        info = await task.info()
        print(f"{info.done_by} did it for {info.paid} {fog.asset}")
        print(await task.explain())


def main() -> None:
    """Reads the arguments."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    commands = parser.add_subparsers(dest="command", required=True)
    serving = commands.add_parser("serve", help="do tasks")
    serving.add_argument("database")
    serving.add_argument("name")
    serving.add_argument("--concurrency", type=int, default=4)
    asking = commands.add_parser("ask", help="submit a task")
    asking.add_argument("database")
    asking.add_argument("text")
    given = parser.parse_args()
    if given.command == "serve":
        work = serve(given.database, given.name, given.concurrency)
    else:
        work = ask(given.database, given.text)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(work)


if __name__ == "__main__":
    main()
