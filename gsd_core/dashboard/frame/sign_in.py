"""Signing in through Streamlit's OpenID Connect, where the server's owner configured it.

Group             people who share a workspace
find_group        the group of the signed-in user
require_sign_in   show only a sign-in button until a group admits the user

``.streamlit/secrets.toml`` configures the provider under ``[auth]`` and the groups under ``[[gsd.groups]]``. A provider
signs in everybody who has an account there, so without groups every such account may enter.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import streamlit as st

from gsd_core.errors import UserError

_FILE = ".streamlit/secrets.toml"
_KEYS = {"admit", "workspace", "read_only"}


class Group(NamedTuple):
    """``admit``: e-mail addresses, or ``@domain`` for all of a domain; ``workspace``: "" for the server's own."""

    admit: tuple[str, ...]
    workspace: str = ""
    read_only: bool = False

    def admits(self, email: str) -> bool:
        """Whether the group holds this address; case does not matter."""
        address = email.strip().lower()
        name, at, domain = address.rpartition("@")
        return bool(name) and (address in self.admit or f"{at}{domain}" in self.admit)


def find_group() -> Group | None:
    """The first group that admits the signed-in user; None where none does or none is configured.

    An address that the provider has not verified belongs to no group, because anybody could have entered it. Set
    ``gsd.trust_email = true`` for providers that verify addresses without saying so.
    """
    groups, trusts = _read_groups()
    is_verified = trusts or st.user.get("email_verified") is True
    email = str(st.user.get("email") or "") if is_verified else ""
    return next((group for group in groups if group.admits(email)), None)


def require_sign_in() -> None:
    """End the page here unless an admitted user is signed in; does nothing where no sign-in is configured."""
    try:
        groups, _ = _read_groups()
    except UserError as error:
        st.error(error.one_line().replace("[", "\\["), icon=":material/error:")
        st.stop()
    if not _is_configured():
        return
    name = str(st.user.get("email") or st.user.get("name") or "somebody")
    if st.user.get("is_logged_in") and (not groups or find_group()):
        with st.sidebar:
            st.text(f"Signed in as {name}")
            st.button("Sign out", on_click=st.logout, icon=":material/logout:")
        return
    st.title("Span gradients", anchor=False)
    if st.user.get("is_logged_in"):
        st.text(f"{name} is signed in, but no group of this dashboard admits that address. Ask the owner.")
        st.button("Sign out", on_click=st.logout, icon=":material/logout:")
    else:
        st.markdown("This dashboard is for invited people only.")
        st.button("Sign in", on_click=st.login, type="primary", icon=":material/login:")
    st.stop()


def _is_configured() -> bool:
    return st.secrets.load_if_toml_exists() and "auth" in st.secrets


def _read_groups() -> tuple[list[Group], bool]:
    """Groups in their order, and whether unverified addresses count."""
    if not st.secrets.load_if_toml_exists() or "gsd" not in st.secrets:
        return [], False
    if "auth" not in st.secrets:
        raise UserError("groups need a sign-in", f"[gsd] in {_FILE}", "configure a provider under [auth]")
    settings = st.secrets["gsd"]
    given = settings.get("groups", []) if isinstance(settings, Mapping) else None
    if not isinstance(given, list) or not given:
        raise UserError("there are no groups", f"[gsd] in {_FILE}", 'add [[gsd.groups]] with admit = ["@…"]')
    return [_read_group(each) for each in given], settings.get("trust_email") is True


def _read_group(given: Any) -> Group:
    fix = 'give admit = ["ada@example.org", "@example.org"]; workspace and read_only are optional'
    if not isinstance(given, Mapping) or set(given) - _KEYS:
        raise UserError("a group has unknown keys", f"[[gsd.groups]] in {_FILE}", fix)
    admit, workspace, read_only = given.get("admit"), given.get("workspace", ""), given.get("read_only", False)
    is_list = isinstance(admit, list | tuple) and all(isinstance(each, str) and "@" in each for each in admit)
    if not is_list or not admit or not isinstance(workspace, str) or not isinstance(read_only, bool):
        raise UserError("a group is not valid", f"[[gsd.groups]] in {_FILE}", fix)
    return Group(tuple(each.strip().lower() for each in admit), workspace, read_only)
