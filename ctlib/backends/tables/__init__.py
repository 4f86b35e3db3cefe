"""What every engine reads off a geometry: rays, the columns and slopes they cross, footprints."""
