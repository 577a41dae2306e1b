"""Faults that are given to searches, and the counting of what they did."""
