"""The ground floor: profile, Spark session, errors, console, and what is published."""
