"""Opens or checks what the daemon depends on. Each error says what to do."""

from __future__ import annotations

from pathlib import Path

from redis.asyncio import Redis
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
)
from solders.keypair import Keypair
from solders.pubkey import Pubkey

from zmartd import config, endpoint
from zmartd.chain.accounts import GlobalConfig
from zmartd.chain.idl import Idl, default_idl, load_idl
from zmartd.chain.pdas import Pdas
from zmartd.chain.program_accounts import decode_account
from zmartd.chain.rpc import Rpc
from zmartd.chain.wire import UndecodableData
from zmartd.config import Settings
from zmartd.config_values import ConfigError
from zmartd.errors import ZmartdError
from zmartd.private_file import ExposedFile, read_private
from zmartd.redis_pool import RedisPool, addresses, open_pool
from zmartd.store.postgres.pool import PoolSize

_REDIS_REFUSES_LOGIN = (AuthenticationError, AuthorizationError, NoPermissionError)


class RedisUnavailable(ZmartdError):
    """Redis cannot be used."""

    code = "redis_unavailable"


class WrongProgram(ZmartdError):
    """The account at solana.program_id is not the program of this daemon."""

    code = "wrong_program"


def idl_of(settings: config.SolanaSettings) -> Idl:
    """The IDL for the configured program. Raises IdlError when it is inconsistent."""
    if settings.idl_path:
        return load_idl(Path(settings.idl_path), settings.program_id)
    return default_idl(settings.program_id)


class UnusableKeypair(ZmartdError):
    """A keypair file cannot be read, or others can read it."""

    code = "unusable_keypair"


def authority_of(settings: config.SolanaSettings) -> Keypair | None:
    """The backend authority's key, or None.

    Raises ConfigError when it cannot be read, or when other users can read it.
    """
    if settings.authority_keypair_path:
        return _keypair("authority_keypair_path", settings.authority_keypair_path)
    secret = settings.authority_secret_key.reveal()
    if not secret:
        return None
    try:
        return Keypair.from_base58_string(secret)
    except ValueError as error:
        raise ConfigError(
            ["solana.authority_secret_key: it is not the base58 form of a 64-byte secret key"]
        ) from error


def next_authority_of(settings: config.SolanaSettings) -> Keypair | None:
    """The key that the program is about to have as its backend authority's, or None. Raises ConfigError."""
    file = settings.authority_next_keypair_path
    return _keypair("authority_next_keypair_path", file) if file else None


def _keypair(setting: str, file: str) -> Keypair:
    try:
        return read_keypair(Path(file))
    except UnusableKeypair as error:
        raise ConfigError([f"solana.{setting}: {error.message}"]) from error


def read_keypair(file: Path) -> Keypair:
    """The keypair in a file as solana-keygen writes it. Raises UnusableKeypair."""
    try:
        return Keypair.from_json(read_private(file))
    except ExposedFile as error:
        problem = f"others could sign with this key: {error.message}"
    except OSError as error:
        problem = f"{file} cannot be read: {error.strerror}"
    except ValueError:
        problem = f"{file} is no keypair file; `solana-keygen new --outfile FILE` makes one"
    raise UnusableKeypair(problem)


def require_private_tls_keys(settings: Settings) -> None:
    """Raises ConfigError when other users can read the keys of client certificates."""
    urls = (
        ("database.url: sslkey", settings.database.url, endpoint.POSTGRES, "sslkey"),
        ("database.replica_url: sslkey", settings.database.replica_url, endpoint.POSTGRES, "sslkey"),
        ("redis.url: ssl_keyfile", settings.redis.url, endpoint.REDIS, "ssl_keyfile"),
    )
    problems = []
    for name, url, schemes, option in urls:
        file = endpoint.read(url.reveal(), schemes).query.get(option) if url else None
        try:
            if file:
                read_private(Path(file))
        except ExposedFile as error:
            problems.append(f"{name}: {error.message}")
        except (OSError, ValueError) as error:
            problems.append(f"{name}: the file cannot be read ({endpoint.reason(error)})")
    if problems:
        raise ConfigError(problems)


def open_redis(settings: config.RedisSettings) -> Redis:
    """A client that connects when it is used. Raises ConfigError."""
    return Redis.from_pool(open_pool(settings))


async def lead_redis_to(redis: Redis, settings: config.RedisSettings) -> None:
    """Let a client connect to another URL from now on. Its connections are closed, those in use as well.

    Raises ConfigError.
    """
    former, redis.connection_pool = redis.connection_pool, open_pool(settings)
    await former.disconnect(inuse_connections=True)


def redis_pool_size(redis: Redis) -> PoolSize:
    """How many connections there are to Redis, and how many wait for one. Any thread may ask."""
    pool = redis.connection_pool
    assert isinstance(pool, RedisPool), "open_redis has made it"
    idle, in_use = len(pool._available_connections), len(pool._in_use_connections)
    return PoolSize(idle, in_use, pool.max_connections, pool.waiting)


async def connect_redis(settings: config.RedisSettings) -> Redis:
    """A connected client. Raises ConfigError or RedisUnavailable, which say what to do."""
    redis = open_redis(settings)
    try:
        await require_redis(redis, settings)
    except BaseException:
        await redis.aclose()
        raise
    return redis


async def require_redis(redis: Redis, settings: config.RedisSettings) -> None:
    """Raises RedisUnavailable, which says what to do, unless it answers."""
    try:
        await redis.ping()
    except (RedisError, OSError) as error:
        raise redis_unavailable(settings, error) from error


def redis_unavailable(settings: config.RedisSettings, error: BaseException) -> RedisUnavailable:
    """The error to raise when Redis does not do what it is asked.

    It quotes nothing of the client library's message, which may contain a part of the password.
    """
    if any(isinstance(cause, _REDIS_REFUSES_LOGIN) for cause in endpoint.causes(error)):
        problem = "refuses the user or the password in redis.url: check both"
    elif any(isinstance(cause, OutOfMemoryError) for cause in endpoint.causes(error)):
        problem = "is full: raise its maxmemory, or look for what fills it"
    elif any(isinstance(cause, ReadOnlyError) for cause in endpoint.causes(error)):
        problem = "only reads, as a replica does: let redis.url lead to the primary"
    else:
        why = endpoint.reason(error)
        problem = f"does not answer ({why}): check that it is running and that redis.url is right"
    where = ",".join(map(str, addresses(settings))) or "this machine"
    told = f"whose primary the sentinels at {where} know" if settings.sentinels else f"at {where}"
    return RedisUnavailable(f"Redis {told} {problem}")


async def require_program(rpc: Rpc, program_id: Pubkey) -> GlobalConfig | None:
    """Check that the program is deployed; its configuration, or None before it is initialized.

    Raises WrongProgram, RpcUnavailable.
    """
    program, configuration = await rpc.accounts([program_id, Pdas(program_id).global_config()])
    if program is None or not program.executable:
        what = "nothing" if program is None else "an account that is no program"
        raise WrongProgram(
            f"solana.program_id: there is {what} at {program_id} on {rpc.endpoint}; give the address that "
            "zmart_core was deployed to, or another solana.rpc_url"
        )
    try:
        return decode_account(GlobalConfig, configuration, program_id)
    except UndecodableData as error:
        raise WrongProgram(
            f"solana.program_id: the configuration of {program_id} cannot be read with this IDL ({error}); "
            "give the program's own IDL in solana.idl_path"
        ) from error
