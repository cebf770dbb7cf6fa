"""Browser components of our own (Streamlit components v2): plain JavaScript, nothing fetched from elsewhere."""
