"""The ground floor: what every other package may import."""
