"""Calculus: each op's forward and backward side by side, and the public function with torch's signature beside it."""
