"""Whimbrel's Python package under the bench's protocol over HTTP/3."""
import asyncio

import line
import whimbrel

OPTIONS = {"transport.stream_window": 16 << 20, "transport.conn_window": 16 << 20}


def serve(args):
    bodies = {}

    def handler(request):
        size = line.size_of(request.path)
        if size not in bodies:
            bodies[size] = bytes(size)
        return whimbrel.Response(200, body=bodies[size])

    certs = args.certs
    server = whimbrel.Server(handler, port=args.port, cert=f"{certs}/cert.pem", key=f"{certs}/key.pem", options=OPTIONS)
    with server:
        print("ready", flush=True)
        server.serve_forever()


async def drive(args):
    session = whimbrel.Session(ca=f"{args.certs}/ca.pem")
    async with whimbrel.AsyncClient("localhost", args.port, session=session, timeout=120, options=OPTIONS) as client:

        async def whole(size):
            return len((await client.get(f"/{size}")).body)

        async def viewed(size):
            response = await client.get(f"/{size}", views=True)
            return sum(len(view) for view in response.views)

        # Views spare large bodies a copy; small ones come as bytes with their event.
        fetch = viewed if args.work[0] == "move" else whole
        await line.drive(args.work, fetch)


args = line.arguments()
if args.work[0] == "server":
    serve(args)
else:
    asyncio.run(drive(args))
