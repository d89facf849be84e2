"""Say how much an evaluation of a point promises, and find the point that promises most."""
