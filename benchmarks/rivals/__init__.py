"""What people use instead of Athanor, written as its own tutorials write it."""
