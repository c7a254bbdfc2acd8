"""Our client and our server through the package, synchronous and asyncio."""
import asyncio
import os
import time

import pytest
from conftest import CERTS, echo

import whimbrel


def url(server, path):
    return f"https://localhost:{server.address[1]}{path}"


def test_get(server, ca):
    r = whimbrel.get(url(server, "/bytes/1000"), ca=ca)
    assert (r.status, r.body) == (200, bytes(1000))
    assert r.headers["content-length"] == "1000"


def test_not_found_is_a_response_not_an_error(server, ca):
    assert whimbrel.get(url(server, "/nothing"), ca=ca).status == 404


def test_post_echo_of_every_awkward_size(server, ca):
    with whimbrel.Client("localhost", server.address[1], ca=ca) as client:
        for size in (0, 1, 63, 64, 1199, 1200, 16383, 16384, 65536, 1 << 20, (5 << 20) + 1):
            body = os.urandom(size)
            r = client.post("/echo", body=body)
            assert (r.status, r.body, r.headers["x-method"]) == (200, body, "POST"), size


def test_bodies_may_be_any_bytes_like_object(server, ca):
    with whimbrel.Client("localhost", server.address[1], ca=ca) as client:
        for body in (b"abc", bytearray(b"abc"), memoryview(b"xabcx")[1:4]):
            assert client.post("/echo", body=body).body == b"abc"


def test_a_busy_server_refuses_new_clients_only(ca):
    with whimbrel.Server(echo, cert=str(CERTS / "cert.pem"), key=str(CERTS / "key.pem")) as server:
        server.start()
        with whimbrel.Client("localhost", server.address[1], ca=ca) as client:
            assert client.get("/bytes/3").status == 200
            for busy, idle in ((server.pause, lambda: server.pause(False)),
                               (lambda: server.limit(connections=1), server.limit)):
                busy()
                with pytest.raises(whimbrel.Error):
                    whimbrel.get(url(server, "/bytes/3"), ca=ca)
                assert client.get("/bytes/3").status == 200
                idle()
                assert whimbrel.get(url(server, "/bytes/3"), ca=ca).status == 200


def test_fields_and_peer(server, ca):
    with whimbrel.Client("localhost", server.address[1], ca=ca) as client:
        text = client.get("/fields", headers=[("X-One", "1"), ("x-two", "zwei")]).text()
        assert "x-one: 1" in text and "x-two: zwei" in text
        peer = client.get("/peer").text()
        assert peer.rsplit(":", 1)[1] == client.info().local.rsplit(":", 1)[1], (peer, client.info())


def test_trailers_both_ways(server, ca):
    with whimbrel.Client("localhost", server.address[1], ca=ca) as client:
        r = client.request("POST", "/trailers", body=b"x", trailers=[("x-up", "7")])
        assert (r.body, r.trailers["x-sum"], r.trailers["x-got"]) == (b"body", "42", "7")


def test_a_failing_handler_is_a_500_and_the_server_lives(server, ca):
    with whimbrel.Client("localhost", server.address[1], ca=ca) as client:
        assert client.get("/fail").status == 500
        assert client.get("/bytes/3").status == 200


def test_head_has_no_body(server, ca):
    with whimbrel.Client("localhost", server.address[1], ca=ca) as client:
        r = client.request("HEAD", "/bytes/1000")
        assert (r.status, r.body, r.headers["content-length"]) == (200, b"", "1000")


def test_handlers_on_threads(ca):
    with whimbrel.Server(echo, cert=str(CERTS / "cert.pem"), key=str(CERTS / "key.pem"), threads=4) as server:
        server.start()

        async def main():
            async with whimbrel.AsyncClient("localhost", server.address[1], ca=ca) as client:
                answers = await asyncio.gather(*[client.get(f"/bytes/{n}") for n in range(50)])
            assert [len(r.body) for r in answers] == list(range(50))

        asyncio.run(main())


def test_a_body_over_the_limit_is_refused(ca):
    with whimbrel.Server(echo, cert=str(CERTS / "cert.pem"), key=str(CERTS / "key.pem"), max_body=1000) as server:
        server.start()
        with whimbrel.Client("localhost", server.address[1], ca=ca) as client:
            assert client.post("/echo", body=bytes(1000)).status == 200
            assert client.post("/echo", body=bytes(100_000)).status == 413
            assert client.get("/bytes/5").status == 200


def test_a_thousand_requests_on_one_connection(server, ca):
    async def main():
        async with whimbrel.AsyncClient("localhost", server.address[1], ca=ca) as client:
            answers = await asyncio.gather(*[client.get(f"/bytes/{n % 50}") for n in range(1000)])
            assert [len(r.body) for r in answers] == [n % 50 for n in range(1000)]

    asyncio.run(main())


def test_migration_during_requests(server, ca):
    async def main():
        async with whimbrel.AsyncClient("localhost", server.address[1], ca=ca) as client:
            await client.get("/bytes/1")
            before = client.info().local
            transfer = asyncio.ensure_future(client.get(f"/bytes/{32 << 20}"))
            await asyncio.sleep(0.01)
            client.migrate()
            r = await transfer
            assert len(r.body) == 32 << 20
            for _ in range(100):
                if client.info().migrations:
                    break
                await asyncio.sleep(0.02)
            assert client.info().migrations >= 1 and client.info().local != before
            names = [name for name, _ in client.path_events()]
            assert "PATH_VALIDATED" in names and "PATH_MIGRATED" in names, names

    asyncio.run(main())


def test_resumption_and_early_data(server, ca):
    session = whimbrel.Session(ca=ca, early_data=True)
    for n in range(3):
        with whimbrel.Client("localhost", server.address[1], session=session) as client:
            assert client.get("/bytes/10").body == bytes(10)
            # An early answer may come before the handshake is over, and a server gives its one ticket after that: who
            # leaves at once may leave without the ticket for the next time. This answer comes behind it.
            assert client.get("/bytes/10").body == bytes(10)
            info = client.info()
            assert info.resumed == (n > 0), n
            assert info.early_data_accepted == (True if n > 0 else None), n


@pytest.mark.parametrize("threads", [0, 2])
def test_a_fleet_takes_early_data_once(ca, threads):
    calls, answers = [], []

    def store(key, seconds):
        calls.append((key, seconds))
        if answers:
            raise answers.pop()
        return calls.count((key, seconds)) == 1

    options = {"transport.early_decision_ms": 5000}  # this machine may be slow
    common = dict(
        cert=str(CERTS / "cert.pem"), key=str(CERTS / "key.pem"), early_data=True, ticket_keys=[bytes([7]) * 32],
        early_store=store, threads=threads, options=options,
    )
    with whimbrel.Server(echo, **common) as one, whimbrel.Server(echo, **common) as two:
        one.start()
        two.start()
        session = whimbrel.Session(ca=ca, early_data=True)
        for n, (server, accepted) in enumerate([(one, None), (two, True), (one, True), (two, False)]):
            if accepted is False:
                answers.append(RuntimeError("the store is down"))
            with whimbrel.Client("localhost", server.address[1], session=session) as client:
                assert client.get("/bytes/10").body == bytes(10)
                assert client.get("/bytes/10").body == bytes(10)  # behind the ticket, as above
                info = client.info()
                assert info.resumed == (n > 0), n
                assert info.early_data_accepted == accepted, n
    assert len(calls) == len(set(calls)) == 3
    assert all(len(key) == 32 and seconds >= 120 for key, seconds in calls)
    with pytest.raises(ValueError):
        whimbrel.Server(echo, cert=common["cert"], key=common["key"], ticket_keys=[b"short"])


def test_early_requests_say_so_and_are_sent_again_when_it_is_too_early(ca):
    seen = []

    def handler(request):
        seen.append((request.path, request.early))
        # Whether it still may be a replay when a handler runs is a race with the handshake: it may not be one later.
        assert request.early or not request.may_be_replay
        if request.path == "/pay" and request.early:
            return whimbrel.Response(425)
        return f"{request.early} {request.may_be_replay}".encode()

    def store(key, seconds):
        time.sleep(0.05)  # the handshake waits for the answer, so that requests have time to come before it is over
        return True

    common = dict(cert=str(CERTS / "cert.pem"), key=str(CERTS / "key.pem"), options={"transport.early_decision_ms": 5000})
    with whimbrel.Server(
        handler, early_data=True, early_store=store, ticket_keys=[bytes([8]) * 32], **common,
    ) as server:
        server.start()
        session = whimbrel.Session(ca=ca, early_data=True)
        turned_away = 0
        for n in range(50):
            with whimbrel.Client("localhost", server.address[1], session=session) as client:
                answer = client.get("/pay")
                assert (answer.status, answer.body) == (200, b"False False"), n
                assert client.get("/later").body == b"False False"
            paid = [early for path, early in seen if path == "/pay"]
            seen.clear()
            assert paid == [False] or (n > 0 and paid == [True, False]), "no ticket, nothing early; early, then again"
            turned_away += len(paid) == 2
            if turned_away == 3:
                break
        assert turned_away == 3, "requests come early"


def test_key_log(server, ca, tmp_path):
    session = whimbrel.Session(ca=ca, key_log=str(tmp_path / "keys"))
    whimbrel.get(url(server, "/bytes/1"), session=session)
    labels = {line.split()[0] for line in (tmp_path / "keys").read_text().splitlines() if line and line[0] != "#"}
    assert {"CLIENT_HANDSHAKE_TRAFFIC_SECRET", "SERVER_TRAFFIC_SECRET_0"} <= labels


class TestErrors:
    def test_certificate(self, server, tmp_path):
        with pytest.raises(whimbrel.CertificateError):
            whimbrel.get(url(server, "/"), timeout=5)  # the system does not trust our CA

    def test_name(self):
        with pytest.raises(whimbrel.ResolveError):
            whimbrel.get("https://no-such-host.invalid/", verify=False, timeout=5)

    def test_nobody_there(self):
        with pytest.raises((whimbrel.UnreachableError, whimbrel.TimeoutError)):
            whimbrel.get("https://127.0.0.1:1/", verify=False, timeout=5)

    def test_not_https(self):
        with pytest.raises(whimbrel.FatalError, match="https"):
            whimbrel.get("http://localhost/")

    def test_no_certificate_file(self):
        with pytest.raises(whimbrel.Error, match="/nowhere/cert.pem"):
            whimbrel.Server(echo, cert="/nowhere/cert.pem", key="/nowhere/key.pem")

    def test_port_in_use(self, server):
        with pytest.raises(whimbrel.Error, match=str(server.address[1])):
            whimbrel.Server(echo, port=server.address[1], cert=str(CERTS / "cert.pem"), key=str(CERTS / "key.pem"))

    def test_timeout_of_a_request(self, ca):
        import time

        def slow(_request):
            time.sleep(1.5)
            return b"late"

        with whimbrel.Server(slow, cert=str(CERTS / "cert.pem"), key=str(CERTS / "key.pem")) as s:
            s.start()
            with whimbrel.Client("localhost", s.address[1], ca=ca) as client:
                with pytest.raises(TimeoutError):
                    client.get("/", timeout=0.2)

    def test_server_goes_away(self, ca):
        s = whimbrel.Server(echo, cert=str(CERTS / "cert.pem"), key=str(CERTS / "key.pem"))
        s.start()
        with whimbrel.Client("localhost", s.address[1], ca=ca) as client:
            client.get("/bytes/1")
            s.close()
            with pytest.raises(whimbrel.ConnectionClosed) as e:
                client.get("/bytes/1", timeout=5)
            assert e.value.code is not None


class TestManyAtOnce:
    """Requests that leave together: what is wrong with one is no other's trouble, and each is answered by itself."""

    def test_a_bad_request_among_good_ones(self, server, ca):
        async def main():
            async with whimbrel.AsyncClient("localhost", server.address[1], ca=ca) as client:
                for bad in ("/\0:path\0/fail", "no slash", "/bytes/1 2"):
                    good = [client.get(f"/bytes/{n}", headers=[("X-Number", str(n))]) for n in range(20)]
                    answers = await asyncio.gather(*good, client.get(bad), return_exceptions=True)
                    assert [len(r.body) for r in answers[:-1]] == list(range(20))
                    assert isinstance(answers[-1], whimbrel.Error), answers[-1]
                    assert "path" in str(answers[-1]), str(answers[-1])
                with pytest.raises(whimbrel.Error):
                    await client.get("/fields", headers=[("x-one", "1\0x-two\0002")])
                assert "x-two" not in (await client.get("/fields", headers=[("x-one", "1")])).text()

        asyncio.run(main())

    def test_more_than_the_peer_allows_wait_for_their_turn(self, ca):
        options = {"transport.max_streams_bidi": 3}
        with whimbrel.Server(
            echo, cert=str(CERTS / "cert.pem"), key=str(CERTS / "key.pem"), options=options
        ) as server:
            server.start()

            async def main():
                async with whimbrel.AsyncClient("localhost", server.address[1], ca=ca) as client:
                    answers = await asyncio.gather(*[client.post("/echo", body=bytes([n])) for n in range(200)])
                    assert [r.body for r in answers] == [bytes([n]) for n in range(200)]
                    with pytest.raises(TimeoutError):
                        await client.get("/bytes/1", timeout=0)
                    answers = await asyncio.gather(*[client.get("/bytes/2", timeout=30) for _ in range(20)])
                    assert all(r.status == 200 for r in answers)

            asyncio.run(main())

    def test_bodies_up_to_a_loan_and_answers_up_to_a_whole_message(self, server, ca):
        async def main():
            async with whimbrel.AsyncClient("localhost", server.address[1], ca=ca) as client:
                sizes = [0, 1, 1023, 16383, 16384, 16385, 32767, 32768, 32769, 70000]
                bodies = [os.urandom(n) for n in sizes]
                for views in (False, True):
                    answers = await asyncio.gather(*[client.post("/echo", body=b, views=views) for b in bodies])
                    for r, body in zip(answers, bodies):
                        assert (b"".join(r.views) if views else r.body) == body
                        assert r.headers["content-length"] == str(len(body)) and r.headers["X-Method"] == "POST"
                        assert "nothing" not in r.headers and not r.trailers and r.interim == []
                        assert all(v.readonly and v.format == "B" for v in r.views)

        asyncio.run(main())

    def test_a_whole_exchange_is_one_event_for_the_server(self, ca):
        parts, ended = set(), set()
        with whimbrel.Server(echo, cert=str(CERTS / "cert.pem"), key=str(CERTS / "key.pem")) as server:
            real = server._engine.default

            def listen(ev):
                if whimbrel._abi.WB_EV_H3_HEADERS == ev.kind:
                    parts.add(ev.stream)
                if ev.kind in (whimbrel._abi.WB_EV_STREAM_SEND_DONE, whimbrel._abi.WB_EV_STREAM_CLOSED):
                    ended.add(ev.stream)
                real(ev)

            server._engine.default = listen
            server.start()

            async def main():
                async with whimbrel.AsyncClient("localhost", server.address[1], ca=ca) as client:
                    for _ in range(40):
                        await asyncio.gather(*[client.get("/bytes/1024") for _ in range(100)])

            asyncio.run(main())
        # Who came in parts is told its end; who came whole and was answered whole is not, however fast the client was.
        assert ended <= parts, f"{len(ended - parts)} of 4000 exchanges were told an end"

    def test_cancelled_and_closed_in_between(self, server, ca):
        async def main():
            client = await whimbrel.AsyncClient("localhost", server.address[1], ca=ca).open()
            tasks = [asyncio.ensure_future(client.get(f"/bytes/{n}")) for n in range(50)]
            await asyncio.sleep(0)
            for task in tasks[::2]:
                task.cancel()
            answers = await asyncio.gather(*tasks, return_exceptions=True)
            assert all(isinstance(r, asyncio.CancelledError) for r in answers[::2])
            assert [len(r.body) for r in answers[1::2]] == list(range(1, 50, 2))
            late = [asyncio.ensure_future(client.get("/bytes/1")) for _ in range(5)]
            await asyncio.sleep(0)
            await client.close()
            for answer in await asyncio.gather(*late, return_exceptions=True):
                assert isinstance(answer, whimbrel.ConnectionClosed), answer

        asyncio.run(main())

    def test_headers_survive_copying_and_pickling(self, server, ca):
        import copy
        import pickle

        headers = whimbrel.get(url(server, "/bytes/7"), ca=ca).headers
        for same in (copy.deepcopy(headers), pickle.loads(pickle.dumps(headers))):
            assert list(same) == list(headers) == [("content-length", "7")]
