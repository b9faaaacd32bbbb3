"""Clients of the outside world, behind one interface."""
