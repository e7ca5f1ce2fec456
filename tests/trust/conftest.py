"""What the program promises, each tried by what would break it; `docs/trust.md` names the tests."""
