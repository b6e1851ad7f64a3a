"""`python -m medusis_tf`: the same as `medusis`."""

from medusis_tf.commands.application import main

if __name__ == "__main__":
    main()
