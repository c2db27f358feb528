"""Mistakes of users, as data: each is caught before anything is trained."""
