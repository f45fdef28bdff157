"""A POP3 greeting-to-login in asyncio, with mailauth judging: what it takes to put it into a server of your own.

    python examples/asyncio_server.py mailauth.toml server.pem server.key 9995

Every outcome has its own word. A Defer means that the password was not judged; a mail program that hears "wrong" then
would throw away a password that is right.
"""

import asyncio
import ssl
import sys

from mailauth import Accept, Attempt, Authenticator, Credential, Defer, Reject, Service, open_authenticator

MAX_LINE_BYTES = 512


async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, authenticator: Authenticator) -> None:
    """One client: USER, PASS, QUIT."""
    peer = writer.get_extra_info("peername")
    login = ""
    writer.write(b"+OK ready\r\n")
    while line := (await reader.readline()).decode("utf-8", "surrogateescape").rstrip("\r\n"):
        command, _, argument = line.partition(" ")
        match command.upper():
            case "USER":
                login = argument
                writer.write(b"+OK\r\n")
            case "PASS":
                attempt = Attempt(Credential(login, argument), Service.POP3, peer, tls=True)
                match await authenticator.authenticate(attempt):
                    case Accept(principal):
                        writer.write(f"+OK {principal.login} is in\r\n".encode())
                    case Reject():
                        writer.write(b"-ERR [AUTH] Authentication failed.\r\n")
                    case Defer():
                        writer.write(b"-ERR [SYS/TEMP] Try again later.\r\n")
            case "QUIT":
                writer.write(b"+OK\r\n")
                break
            case _:
                writer.write(b"-ERR\r\n")
    writer.close()


async def main(config: str, certificate: str, key: str, port: str) -> None:
    """Serve on loopback until interrupted."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    async with open_authenticator(config) as authenticator:
        server = await asyncio.start_server(
            lambda reader, writer: greet(reader, writer, authenticator),
            "localhost",
            int(port),
            ssl=tls,
            limit=MAX_LINE_BYTES,
        )
        print(f"listening on localhost:{port}", flush=True)
        await server.serve_forever()


if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    try:
        asyncio.run(main(*sys.argv[1:]))
    except KeyboardInterrupt:
        print("bye")
