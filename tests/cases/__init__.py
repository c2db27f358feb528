"""What each family of models is compared with: see tests/parity.py."""
