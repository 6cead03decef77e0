"""Demo and test servers: HTTP that names its port, an echo for everything else, faults on demand."""
