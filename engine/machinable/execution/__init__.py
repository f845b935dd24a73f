"""Where everything meets: tasks become executions."""
