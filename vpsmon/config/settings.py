"""Every key of monitor.conf with its type and default. What each one means stands beside it in monitor.conf."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from vpsmon.core.secrets import register_values


class Preset(str):
    """A default that names a container: what nobody has written names none for certain, it only is the usual name."""


class Settings(NamedTuple):
    """The values in force. The field names are the keys of monitor.conf, so that one search finds both."""

    MEMORY_PRESSURE_WARNING: float = 60
    MEMORY_PRESSURE_THRESHOLD: float = 80
    MEMORY_WARNING_MB: float = 100
    MEMORY_CRITICAL_MB: float = 50
    SWAP_WARNING_MB: float = 1024
    SWAP_THRESHOLD_MB: float = 2048
    POSTGRES_CACHE_THRESHOLD: float = 90
    POSTGRES_CACHE_CRITICAL: float = 80
    DISK_WARNING_PCT: float = 80
    DISK_CRITICAL_PCT: float = 90
    FORECAST_WARNING_HOURS: float = 24
    FORECAST_CRITICAL_HOURS: float = 3
    ALERT_RATE_LIMIT_SEC: int = 600
    MONITOR_INTERVAL_SEC: int = 30
    TELEGRAM_BOT_TOKEN: str = ""
    TELEGRAM_CHAT_ID: str = ""
    TELEGRAM_THREAD_ID: str = ""
    TELEGRAM_API_BASE: str = "https://api.telegram.org"
    HEARTBEAT_URL: str = ""
    EMAIL_TO: tuple[str, ...] = ()
    SMTP_URL: str = ""
    EMAIL_FROM: str = ""
    ENABLE_AUTO_RECOVERY: bool = True
    RECOVER_ON_CRITICAL: bool = True
    ESSENTIAL_CONTAINERS: tuple[str, ...] = ("postgres", "redis", "n8n", "waha", "traefik")
    WAHA_STUCK_AFTER_SEC: int = 3600
    N8N_QUEUE_MAX: int = 1000
    N8N_LOW_PRIORITY_TAG: str = "low-priority"
    N8N_QUEUE_PREFIX: str = "bull"
    SWAP_THRASH_KB_S: float = 5000
    RESTART_LOOP_COUNT: int = 5
    RESTART_LOOP_WINDOW_SEC: int = 300
    UNHEALTHY_AFTER_SEC: int = 300
    RECOVERY_MAX_ACTIONS_PER_HOUR: int = 6
    WAHA_CONTAINER: str = Preset("waha")
    N8N_CONTAINER: str = Preset("n8n")
    POSTGRES_CONTAINER: str = Preset("postgres")
    REDIS_CONTAINER: str = Preset("redis")
    POSTGRES_DSN: str = ""
    REDIS_URL: str = ""
    N8N_URL: str = ""
    N8N_API_KEY: str = ""
    WAHA_URL: str = ""
    WAHA_API_KEY: str = ""
    LEAD_COUNT_QUERY: str = ""
    DISK_PATHS: tuple[str, ...] = ("/",)
    STATE_DIR: str = ""
    METRICS_LISTEN: str = "127.0.0.1:19633"

    @property
    def has_telegram(self) -> bool:
        """Whether alerts can go to Telegram."""
        return bool(self.TELEGRAM_BOT_TOKEN and self.TELEGRAM_CHAT_ID)

    @property
    def has_email(self) -> bool:
        """Whether the report can go out by e-mail."""
        return bool(self.EMAIL_TO and self.SMTP_URL)


class Config(NamedTuple):
    """The settings in force, where they came from, and what is odd about them without being wrong."""

    settings: Settings
    path: str | None
    state_directory: str
    warnings: tuple[str, ...] = ()


# Key -> "float", "int", "str", "bool" or "tuple".
KINDS: dict[str, str] = {key: kind.__name__ for key, kind in Settings.__annotations__.items()}
DEFAULTS = Settings()


def to_plain(settings: Settings) -> tuple[Any, ...]:
    """Return the values as `marshal` can carry them: None for a default that nobody has written."""
    return tuple(None if isinstance(value, Preset) else value for value in settings)


def from_plain(values: Sequence[Any]) -> Settings:
    """Return the settings that `to_plain` has packed."""
    filled = [default if value is None else value for value, default in zip(values, DEFAULTS, strict=True)]
    return Settings._make(filled)


SECRET_KEYS = frozenset(
    {"TELEGRAM_BOT_TOKEN", "POSTGRES_DSN", "REDIS_URL", "N8N_API_KEY", "WAHA_API_KEY", "HEARTBEAT_URL", "SMTP_URL"}
)


def register_secrets(settings: Settings) -> None:
    """Have the secret values blanked in whatever leaves this process."""
    register_values(str(getattr(settings, key)) for key in SECRET_KEYS)


# Key -> what its URL may begin with.
URL_KEYS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("TELEGRAM_API_BASE", "HEARTBEAT_URL", "N8N_URL", "WAHA_URL"), ("http://", "https://")),
    "SMTP_URL": ("smtp://", "smtps://"),
}

# URLs that hold a password.
CREDENTIAL_KEYS = frozenset({"POSTGRES_DSN", "REDIS_URL", "SMTP_URL"})
PATH_KEYS = frozenset({"STATE_DIR", "DISK_PATHS"})

_TEN_YEARS_SECONDS = 315_360_000
# Wide on purpose: a limit of one second or of a terabyte is somebody's test.
_RANGE_BY_ENDING = {
    "_PCT": (0, 100),
    "_MB": (0, 1_000_000_000),
    "_SEC": (1, _TEN_YEARS_SECONDS),
    "_HOURS": (0, 87_600),
    "_KB_S": (0, 1_000_000_000),
}
_RANGE_BY_KEY = {
    "MEMORY_PRESSURE_WARNING": (0, 100),
    "MEMORY_PRESSURE_THRESHOLD": (0, 100),
    "POSTGRES_CACHE_THRESHOLD": (0, 100),
    "POSTGRES_CACHE_CRITICAL": (0, 100),
    "ALERT_RATE_LIMIT_SEC": (0, _TEN_YEARS_SECONDS),
    "MONITOR_INTERVAL_SEC": (1, 86_400),
    "RECOVERY_MAX_ACTIONS_PER_HOUR": (0, 1_000),
}
_RANGE_OF_A_COUNT = (1, 1_000_000_000)


def allowed_range(key: str) -> tuple[int, int]:
    """Return the smallest and the largest value of a numeric key, in the key's own unit."""
    if key in _RANGE_BY_KEY:
        return _RANGE_BY_KEY[key]
    return next((limits for ending, limits in _RANGE_BY_ENDING.items() if key.endswith(ending)), _RANGE_OF_A_COUNT)
