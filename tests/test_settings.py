"""What the environment may say."""

from __future__ import annotations

from traceback import format_exception

import pytest

from api.schemas import ProtectForm
from core.errors import ConfigurationError
from core.settings import Settings


@pytest.mark.parametrize(
    ("name", "value"), [("max_variants", "17"), ("max_pixels", "178956971"), ("log_level", "TRACE")]
)
def test_what_could_not_be_is_refused_at_the_start(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"SIDER_{name.upper()}", value)
    with pytest.raises(ConfigurationError, match=f"SIDER_{name.upper()}"):
        Settings()


def test_a_name_that_is_nearly_a_settings_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIDER_JWT_JWK", "https://id.bank/keys")
    monkeypatch.setenv("SIDER_S3_SECRET_KEY", "hunter2")
    with pytest.raises(ConfigurationError, match="SIDER_JWT_JWKS") as refused:
        Settings()
    assert "hunter2" not in "".join(format_exception(refused.value))


def test_a_wrong_value_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIDER_S3_CHECKSUMS", "hunter2")
    with pytest.raises(ConfigurationError, match="SIDER_S3_CHECKSUMS") as refused:
        Settings()
    assert "hunter2" not in "".join(format_exception(refused.value))


@pytest.mark.parametrize("name", ["SIDER_API_KEY", "SIDER_SERVER", "SIDER_SHARED", "SIDER_API_SERVICE_PORT"])
def test_names_that_are_others_are_left_alone(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    before = Settings()
    monkeypatch.setenv(name, "1")
    assert Settings() == before


def test_a_level_may_be_written_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIDER_LOG_LEVEL", "warning")
    assert Settings().log_level == "WARNING"


def test_as_many_variants_as_a_form_may_ask_for() -> None:
    [limit] = [of.le for of in ProtectForm.model_fields["variants"].metadata if hasattr(of, "le")]
    assert Settings(max_variants=limit).max_variants == limit


def test_no_password_is_shown() -> None:
    settings = Settings(database_url="postgresql+psycopg://sider:hunter2@db/sider")
    assert "hunter2" not in f"{settings!r} {settings}"
    assert settings.database_url.endswith("@db/sider")
