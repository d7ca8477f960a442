"""What a user can declare, and what follows from it: pure."""
