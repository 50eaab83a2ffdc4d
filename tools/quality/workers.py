"""Processes that measure side by side, and that end with the one that started them."""
import concurrent.futures
import multiprocessing
import os
import threading


def end_with_parent() -> None:
    """A process that is killed cannot tell its children; they would compute on, for nobody."""
    def watch() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
        os._exit(1)  # Whatever the library is in the midst of.

    threading.Thread(target=watch, daemon=True).start()


def pool(jobs: int) -> concurrent.futures.ProcessPoolExecutor:
    """An executor of `jobs` processes."""
    context = multiprocessing.get_context("spawn")  # A forked child would share the C library.
    return concurrent.futures.ProcessPoolExecutor(jobs, mp_context=context,
                                                  initializer=end_with_parent)
