"""The promises and the tests that hold them: one literal table, whose
later sections are in trust.py. A row is (promise, tests).

A test whose parameters are literals needs no figure (counting.py finds it in the source). For any other,
`Tried` (tried.py) gives the figure and how it was counted.
"""

from __future__ import annotations

from support.promises import trust
from support.promises.tried import FUZZED, TABLES, Sections, Tried

TABLE: Sections = {
    "Two at once, and stopped by others": (
        (
            "An output directory has one owner; a second one is told the host and process of the first and "
            "removes nothing.",
            (
                "tests/test_ownership.py::test_a_second_owner_is_refused_and_the_first_is_named",
                "tests/test_ownership.py::test_a_killed_owner_leaves_nothing_that_holds_the_directory",
                "tests/test_ownership.py::test_two_runs_at_once",
                "tests/test_ownership.py::test_a_run_in_a_directory_that_has_an_owner_is_refused",
                "tests/test_ownership.py::test_a_run_that_fails_as_it_starts_leaves_no_directory",
                "tests/test_ownership.py::test_whoever_comes_second_changes_nothing",
                "tests/test_ownership.py::test_file_systems_without_locks",
                "tests/test_ownership.py::test_a_lock_that_is_a_link_is_not_followed",
                "tests/test_ownership.py::test_a_lock_of_anything_is_no_obstacle",
                "tests/test_ownership.py::test_a_place_in_which_nothing_can_be_made",
                "tests/test_two_at_once.py::test_others_change_nothing_of_a_living_run",
                "tests/run_report/test_report.py::test_a_table_of_others_is_not_replaced",
                "tests/run_report/test_report.py::test_outputs_that_a_report_cannot_have",
                "tests/replication/test_changed.py::test_a_page_has_one_writer",
                "tests/replication/test_changed.py::test_a_page_of_others_is_left_alone",
                "tests/replication/test_changed.py::test_a_place_where_no_page_can_be_is_one_line",
                "tests/training/export/test_model.py::test_a_second_export_to_one_directory_is_refused",
                "tests/training/export/test_model.py::test_an_export_that_fails_keeps_the_one_before",
                "tests/evaluation/judge/test_command.py::test_a_second_evaluation_in_one_directory_is_refused",
                "tests/evaluation/judge/test_command.py::test_an_evaluation_that_cannot_begin_leaves_no_directory",
            ),
        ),
        (
            "A dataset on an object store is there whole or not at all: its manifest is written last and "
            "removed first; an upload that was stopped, whatever stopped it, sends only what is missing.",
            (
                "tests/pipeline/distributed/test_to_store.py::test_the_manifest_is_written_last",
                "tests/pipeline/distributed/test_to_store.py::test_an_upload_that_stopped_shows_no_dataset_and_continues",
                "tests/pipeline/distributed/test_to_store.py::test_a_file_that_was_changed_since_is_sent_again",
                "tests/pipeline/distributed/test_to_store.py::test_what_is_replaced_is_no_dataset_from_the_first_removal_on",
                "tests/pipeline/distributed/test_to_store.py::test_files_of_others_are_never_touched",
                "tests/pipeline/distributed/test_to_store.py::test_two_that_publish_at_the_same_time_are_noticed",
                "tests/stores/test_s3.py::test_a_build_that_is_killed_while_it_uploads_continues",
                "tests/stores/test_s3.py::test_a_store_that_goes_away_loses_nothing",
            ),
        ),
        (
            "Parts of a build that ran as jobs of their own, also stopped ones, have the bytes of one run.",
            (
                "tests/pipeline/distributed/test_parts.py::test_parts_in_any_order_have_the_bytes_of_one_run",
                "tests/pipeline/distributed/test_parts.py::test_repeated_prompts_have_the_ids_of_one_run",
                "tests/pipeline/distributed/test_parts.py::test_a_missing_part_is_named",
                "tests/pipeline/distributed/test_parts.py::test_parts_of_another_build_are_named",
                "tests/pipeline/distributed/test_parts.py::test_two_jobs_of_one_part_are_refused",
                "tests/pipeline/distributed/test_parts.py::test_a_killed_part_continues_and_the_commands_say_what_is_next",
                "tests/pipeline/distributed/test_slurm.py::test_the_template_builds_the_dataset_of_one_run",
            ),
        ),
        (
            "No command writes inside the output of another, running or not.",
            (
                Tried("tests/test_inside.py::test_nothing_is_written_inside_an_output", 5 * 5 * 2, TABLES),
                "tests/test_inside.py::test_nothing_is_written_inside_what_a_living_command_writes",
                "tests/test_inside.py::test_every_command_refuses_such_an_output",
            ),
        ),
        (
            "SIGINT, SIGTERM and SIGHUP keep the state, say how to continue, and have their own exit codes.",
            (
                "tests/cli/test_stops.py::test_sigint_in_a_build",
                "tests/cli/test_stops.py::test_other_signals_in_a_build",
                "tests/cli/test_stops.py::test_signals_in_training",
                "tests/cli/test_stops.py::test_sigint_before_training",
                "tests/cli/test_stops.py::test_sigint_before_anything_was_begun",
                "tests/pipeline/test_stops.py::test_sigint_keeps_what_was_done",
                "tests/pipeline/test_stops.py::test_sigint_while_a_shard_is_opened_leaves_no_half_shard",
            ),
        ),
        (
            "Runs that a sweep trains at a time end with it, whatever ends it, and keep what they have done.",
            (
                "tests/sweep/test_stops.py::test_signals_to_all_processes_of_a_terminal_keep_every_run",
                "tests/sweep/test_stops.py::test_a_killed_sweep_leaves_no_run_and_continues",
            ),
        ),
        (
            "Nothing that an online training has started outlives it, whatever ends it; the same command "
            "waits for what is ending, and continues to the same weights.",
            (
                "tests/online/test_guard.py::test_what_a_shell_has_started_has_ended_after_the_block",
                "tests/online/test_guard.py::test_a_command_that_ends_leaves_nothing_in_the_background",
                "tests/online/test_guard.py::test_a_stubborn_process_does_not_survive_a_killed_command",
                "tests/online/test_guard.py::test_a_command_waits_for_what_a_killed_run_has_left",
                "tests/online/test_served_stops.py::test_the_server_is_gone_and_the_same_command_continues",
                "tests/online/test_launched_stops.py::test_a_killed_run_leaves_no_worker_and_continues_at_once",
                "tests/online/test_launched_stops.py::test_a_stopped_run_saves_a_checkpoint_and_continues",
                "tests/online/test_launched_stops.py::test_a_training_whose_process_is_killed_is_told",
            ),
        ),
        (
            "Many signals in a row are one stop: one line, no traceback, and the state is kept.",
            (
                "tests/cli/test_bursts.py::test_a_burst_in_a_build",
                "tests/cli/test_bursts.py::test_a_burst_in_training",
                "tests/cli/test_bursts.py::test_later_signals_wait_until_the_first_is_handled",
                "tests/cli/test_bursts.py::test_a_stop_waits_until_what_is_imported_is_whole",
                "tests/cli/test_bursts.py::test_a_stop_that_takes_too_long_ends_at_once",
                "tests/cli/test_bursts.py::test_a_stop_in_a_destructor_is_not_lost",
                "tests/cli/test_bursts.py::test_bursts_at_any_moment_of_a_build",
                "tests/cli/test_bursts.py::test_bursts_at_any_moment_of_training",
                "tests/cli/test_bursts_elsewhere.py::test_bursts_at_any_moment_of_an_export",
                "tests/cli/test_bursts_elsewhere.py::test_bursts_at_any_moment_of_a_push",
                "tests/cli/test_bursts_elsewhere.py::test_bursts_at_any_moment_of_a_quickstart",
            ),
        ),
        (
            "A build or run that was killed ends with the bytes or weights of one that was not.",
            (
                "tests/pipeline/test_stops.py::test_killed_builds_end_with_the_same_bytes",
                "tests/pipeline/test_stops.py::test_a_stop_at_any_rename_ends_with_the_same_bytes",
                "tests/training/test_stops.py::test_an_interrupted_and_killed_run_ends_with_the_same_weights",
                "tests/training/test_stops.py::test_a_stop_at_any_rename_ends_with_the_same_weights",
            ),
        ),
        (
            "A batch is submitted once, and the next command waits for it, after a kill at any moment.",
            (
                "tests/engines/batch/test_kills.py::test_killed_between_two_steps",
                "tests/engines/batch/test_kills.py::test_killed_in_a_request",
                "tests/engines/batch/test_kills.py::test_a_batch_whose_creation_was_not_answered_is_found",
                "tests/engines/batch/test_kills.py::test_a_killed_process_is_continued_by_the_same_command",
                "tests/engines/batch/test_lines.py::test_two_builds_that_share_a_cache_submit_a_request_once",
            ),
        ),
        (
            "A build on a cluster has the same bytes, whatever happens to a worker, a node or the driver.",
            (
                "tests/pipeline/executors/ray/test_bytes.py::test_two_nodes_write_the_same_bytes",
                "tests/pipeline/executors/ray/test_bytes.py::"
                "test_a_build_that_stopped_is_continued_by_the_other_executor",
                "tests/pipeline/executors/ray/test_bytes.py::"
                "test_a_killed_driver_loses_what_was_in_flight_and_leaves_no_process",
                "tests/pipeline/executors/ray/test_bytes.py::test_a_killed_worker_costs_nothing",
                "tests/pipeline/executors/ray/test_bytes.py::test_a_lost_node_costs_nothing",
                "tests/pipeline/executors/ray/test_lost_node.py::"
                "test_what_was_on_a_lost_node_is_asked_again_and_nothing_else",
                "tests/pipeline/executors/ray/test_lost_node.py::"
                "test_a_lost_head_is_said_and_the_same_command_continues",
                "tests/pipeline/executors/ray/test_s3.py::test_a_cluster_reads_from_and_writes_to_a_store",
            ),
        ),
        (
            "The models of a run, on all nodes and in batches, spend no more than its one budget.",
            (
                "tests/engines/test_run_budget.py::test_the_sum_over_all_models_never_exceeds_the_budget",
                "tests/pipeline/test_models.py::test_a_pool_has_one_budget",
                "tests/pipeline/test_batched_pools.py::test_all_batches_have_one_budget",
                "tests/pipeline/executors/ray/test_lost_node.py::test_a_lost_node_lifts_no_budget",
            ),
        ),
        (
            "A full disk is one line and costs nothing that was done.",
            (
                "tests/cli/test_stops.py::test_disk_full_in_a_build",
                "tests/cli/test_stops.py::test_disk_full_while_tokens_are_written",
                "tests/cli/test_stops.py::test_disk_full_while_weights_are_saved",
                "tests/cli/test_stops.py::test_output_that_may_not_be_written_to",
                "tests/pipeline/test_stops.py::test_full_disk_is_one_message_and_keeps_what_was_done",
                "tests/pipeline/test_stops.py::test_unwritable_output_is_one_message",
                "tests/cli/test_start.py::test_a_working_directory_that_was_removed",
                "tests/training/test_stops.py::test_a_checkpoint_that_cannot_be_written_is_one_message",
            ),
        ),
        (
            "Work does not stop because nobody reads what it says.",
            (
                "tests/cli/test_streams.py::test_a_build_continues_if_nobody_reads_what_it_prints",
                "tests/cli/test_streams.py::test_a_result_that_cannot_be_printed_is_one_line",
                "tests/cli/test_streams.py::test_a_reader_that_leaves_early_is_no_error",
            ),
        ),
        (
            "What a person says about a set is on disk before the page shows it: a kill, a full disk or a "
            "second server costs no saved annotation, and no command deletes or publishes one.",
            (
                "tests/rankers/human/test_annotation_file.py::test_a_kill_in_the_middle_loses_no_saved_line",
                "tests/rankers/human/test_annotation_file.py::test_two_processes_do_not_mix_lines",
                "tests/rankers/human/test_annotation_file.py::test_a_full_disk_leaves_the_file_as_it_was",
                "tests/rankers/human/test_annotation_file.py::"
                "test_a_piece_of_a_line_is_named_and_never_glued_to_the_next",
                "tests/view/test_annotating.py::test_threads_of_a_server_mix_nothing",
                "tests/pipeline/test_annotated.py::test_building_again_deletes_no_annotation",
                "tests/pipeline/test_annotated.py::test_whole_directories_with_annotations_are_not_deleted",
                "tests/pipeline/test_annotated.py::test_a_push_leaves_annotations_here_and_says_so",
            ),
        ),
    ),
    "What a run is made of is hashed": (
        (
            "Closed shards, moved files and finished datasets are checked before they are used or published.",
            (
                "tests/pipeline/test_damaged.py::test_a_damaged_build_is_not_continued",
                "tests/pipeline/test_damaged.py::test_a_bit_that_flips_during_the_build_is_found_before_publication",
                "tests/pipeline/test_damaged.py::test_a_moved_file_that_changed_is_found",
                "tests/pipeline/test_damaged.py::test_a_complete_dataset_with_a_flipped_bit_is_not_complete",
                "tests/pipeline/test_damaged.py::test_a_damaged_result_of_a_model_stage_is_made_again",
                Tried("tests/fuzz/test_state_of_builds.py::test_any_state_of_a_build", 20_000, FUZZED),
                Tried(
                    "tests/fuzz/test_state_of_builds.py::test_any_state_of_a_build_that_asked_a_model",
                    10_000,
                    FUZZED,
                ),
            ),
        ),
        (
            "Input that changes while it is read is not published.",
            (
                "tests/pipeline/test_inputs.py::test_input_that_changes_is_refused",
                "tests/pipeline/test_inputs.py::"
                "test_input_that_is_replaced_and_put_back_while_it_is_read_is_refused",
                "tests/pipeline/test_inputs.py::test_a_judge_prompt_that_changes_is_refused",
            ),
        ),
        (
            "Output is no part of the input; links are followed once, and loops end.",
            (
                "tests/pipeline/test_inputs.py::test_the_output_is_not_part_of_the_input",
                "tests/pipeline/test_inputs.py::test_a_dangling_output_is_named",
                "tests/test_ownership.py::test_an_output_that_leads_back_to_itself",
                "tests/sources/test_walk.py::test_a_file_of_several_names_is_read_once",
                "tests/sources/test_walk.py::test_loops_end",
                "tests/sources/test_walk.py::test_a_link_to_no_file_is_refused",
            ),
        ),
        (
            "A run continues only with the weights, tokenizer, data and reference that it began with.",
            (
                "tests/training/test_content.py::test_a_run_of_which_something_changed_is_not_continued",
                "tests/training/test_content.py::test_a_run_over_adapters_is_not_continued_with_others",
                "tests/training/test_content.py::test_a_run_from_a_configuration_is_not_continued_with_another",
                "tests/training/test_content.py::test_log_probs_of_other_weights_of_equal_size_and_time_are_not_taken",
                "tests/training/test_content.py::test_a_flipped_bit_in_stored_log_probs_is_found",
                "tests/training/test_changed_data.py::test_a_changed_dataset_is_refused",
            ),
        ),
        (
            "A run is complete by the steps in its record, whatever is in its `model/`.",
            (
                "tests/training/output/test_complete.py::test_a_model_of_elsewhere_completes_no_run",
                "tests/sweep/test_run.py::test_a_model_of_elsewhere_finishes_no_run",
            ),
        ),
        (
            "Runs of a sweep are compared only if they were made of the same, and took as many steps.",
            (
                "tests/sweep/test_run.py::test_runs_that_were_made_of_something_else_are_not_compared",
                "tests/sweep/test_run.py::test_a_longer_sweep_makes_all_runs_longer",
            ),
        ),
        (
            "What a manifest says is what was written.",
            ("tests/pipeline/test_damaged_files.py::test_an_edited_manifest_is_no_complete_dataset",),
        ),
        (
            "An online training continues with no policy and no prompts that have changed since, and "
            "publishes none.",
            (
                "tests/online/test_kills.py::test_a_policy_that_has_changed_since_is_not_continued_with",
                "tests/online/test_kills.py::test_prompts_that_have_changed_since_are_not_continued_with",
                "tests/online/test_kills.py::test_prompts_of_a_segment_are_those_that_were_drawn",
            ),
        ),
        (
            "A replication joins no numbers of other models, and takes no settings that were not chosen.",
            (
                "tests/replication/test_changed.py::test_numbers_of_another_start_are_not_taken",
                "tests/replication/test_changed.py::test_numbers_of_another_seed_are_not_taken",
                "tests/replication/test_changed.py::test_log_probs_of_another_start_are_not_taken",
                "tests/replication/test_changed.py::test_a_flipped_bit_in_the_log_probs_is_found",
                "tests/replication/test_changed.py::test_a_choice_that_was_not_made_is_one_line",
            ),
        ),
        (
            "What was hashed is what is loaded, and no model is saved over weights that changed meanwhile.",
            (
                "tests/training/test_read_once.py::"
                "test_weights_that_are_replaced_before_they_are_loaded_are_refused",
                "tests/training/test_read_once.py::"
                "test_weights_that_are_put_back_after_they_were_loaded_are_refused",
                "tests/training/test_read_once.py::test_what_tokens_are_made_of_may_not_change_meanwhile",
                "tests/training/test_read_once.py::test_loaded_weights_are_not_those_of_the_file_any_more",
                "tests/training/test_read_once.py::test_a_model_is_not_saved_over_other_weights",
            ),
        ),
        (
            "A flipped bit in the cache of calls never changes an answer.",
            (
                "tests/engines/test_cache.py::test_flipped_bits_never_change_an_answer",
                "tests/engines/test_cache.py::test_a_file_that_was_cut_is_one_line",
                "tests/engines/test_cache.py::test_rows_that_were_swapped_are_asked_for_again",
                Tried("tests/fuzz/test_state_of_builds.py::test_any_cache_of_calls", 10_000, FUZZED),
            ),
        ),
        (
            "A damaged checkpoint, store of tokens or record of a run changes no weight.",
            (
                "tests/training/test_stops.py::test_a_damaged_checkpoint_is_recognized",
                "tests/training/test_stops.py::test_a_run_with_a_damaged_checkpoint_resumes_from_the_one_before",
                "tests/training/test_stops.py::test_a_damaged_checkpoint_does_not_displace_a_sound_one",
                "tests/training/tokens/test_store.py::test_a_damaged_file_is_reported_and_written_again",
                Tried("tests/fuzz/test_state_of_runs.py::test_any_state_of_a_run", 10_000, FUZZED),
            ),
        ),
    ),
    **trust.SECTIONS,
}
