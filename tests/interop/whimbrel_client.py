"""Whimbrel's client under the interop tests, through the Python package: runs one scenario, prints one JSON line."""
import argparse
import asyncio
import hashlib
import json

import pattern
import whimbrel


async def scenario(args, client, report):
    if args.scenario == "download":
        r = await client.request("GET", f"/bytes/{args.size}")
        assert r.status == 200 and len(r.body) == args.size, (r.status, len(r.body))
        assert hashlib.sha256(r.body).hexdigest() == pattern.digest(args.size), "wrong bytes"
    elif args.scenario == "upload":
        r = await client.request("POST", "/hash", body=pattern.body(args.size))
        assert r.status == 200 and r.body.decode() == pattern.digest(args.size), (r.status, r.body)
    elif args.scenario == "upload-only":
        # For servers that answer a POST without saying what they got: the status is all there is to check.
        r = await client.request("POST", "/", body=pattern.body(args.size))
        assert r.status == 200, r.status
    elif args.scenario == "many":
        sizes = [1000 + i for i in range(100)]
        answers = await asyncio.gather(*[client.request("GET", f"{args.prefix}{n}") for n in sizes])
        for n, r in zip(sizes, answers):
            assert r.status == 200 and r.body == (pattern.body(n) if args.prefix == "/bytes/" else r.body[:n])
            assert len(r.body) == n, (n, len(r.body))
    elif args.scenario == "keyupdate":
        await client.request("GET", f"{args.prefix}1000")
        client.key_update()
        r = await client.request("GET", f"{args.prefix}{args.size}")
        assert r.status == 200 and len(r.body) == args.size
        report["key_updates"] = client.info().key_updates
        assert report["key_updates"] >= 1
    elif args.scenario == "migrate":
        await client.request("GET", f"{args.prefix}1000")
        while not client.confirmed:
            await asyncio.sleep(0.005)
        moves = 0
        # A download can be over before it was moved thrice: then another goes on with it.
        for _ in range(20):
            transfer = asyncio.ensure_future(client.request("GET", f"{args.prefix}{args.size}"))
            while moves < 5:
                await asyncio.sleep(0.02)
                if transfer.done():
                    break
                try:
                    client.migrate()
                    moves += 1
                except whimbrel.LimitError:
                    pass  # the peer has no spare connection ID for us yet
            r = await transfer
            assert r.status == 200 and len(r.body) == args.size
            if args.prefix == "/bytes/":
                assert hashlib.sha256(r.body).hexdigest() == pattern.digest(args.size), "wrong bytes"
            if moves >= 3:
                break
        report["moves"] = moves
    elif args.scenario in ("small", "resume"):
        r = await client.request("GET", f"{args.prefix}5000")
        assert r.status == 200 and len(r.body) == 5000
    else:
        raise SystemExit(f"no scenario {args.scenario}")


async def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("scenario")
    ap.add_argument("--port", type=int, required=True)
    ap.add_argument("--ca", required=True)
    ap.add_argument("--size", type=int, default=1 << 20)
    ap.add_argument("--prefix", default="/bytes/", help="path before the size of the body wanted")
    args = ap.parse_args()
    report = {"scenario": args.scenario}
    session = whimbrel.Session(ca=args.ca, early_data=True)

    async def once():
        async with whimbrel.AsyncClient("localhost", args.port, session=session, timeout=60) as client:
            await scenario(args, client, report)
            info = client.info()
            report["resumed"] = info.resumed
            report["early_accepted"] = info.early_data_accepted
            report["retry"] = info.retry

    await once()
    if args.scenario == "resume":
        await once()
        assert report["resumed"] and report["early_accepted"], report
    print(json.dumps(report))


asyncio.run(main())
