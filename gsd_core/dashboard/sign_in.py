"""Signing in, where the server's owner asks for it: Streamlit's OpenID Connect, configured under ``[auth]`` in
``.streamlit/secrets.toml``.

require_sign_in   show nothing but a button until somebody signed in
"""

from __future__ import annotations

import streamlit as st


def _is_configured() -> bool:
    return st.secrets.load_if_toml_exists() and "auth" in st.secrets


def require_sign_in() -> None:
    """End the page here until somebody signed in; does nothing where no sign-in is configured."""
    if not _is_configured():
        return
    if st.user.get("is_logged_in"):
        with st.sidebar:
            st.caption(f"Signed in as {st.user.get('email') or st.user.get('name') or 'somebody'}")
            st.button("Sign out", on_click=st.logout, icon=":material/logout:")
        return
    st.title("Span gradients", anchor=False)
    st.markdown("This dashboard is for people its owner knows.")
    st.button("Sign in", on_click=st.login, type="primary", icon=":material/login:")
    st.stop()
