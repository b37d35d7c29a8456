"""`python -m histoweak`: the command line, also the form in which Lightning starts more ranks."""

from histoweak.cli import main

if __name__ == "__main__":
    main()
