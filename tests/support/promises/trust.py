"""The sections of the table of promises about rows, and about what is not trusted."""

from __future__ import annotations

from support.promises.tried import COLLECTED, FUZZED, Sections, Tried

SECTIONS: Sections = {
    "Rows mean what they say": (
        (
            "Every row is in the dataset or in quarantine with a reason, and the numbers add up.",
            (
                Tried("tests/fuzz/test_rows.py::test_rows_of_any_content", 15_241, FUZZED),
                Tried("tests/fuzz/test_rows.py::test_files_with_any_bytes", 12_050, FUZZED),
                Tried(
                    "tests/sources/test_fuzz.py::test_any_rows_are_counted",
                    1600,
                    "eight sources, 200 cases each under `full`",
                ),
                "tests/cli/test_bad_input.py::test_every_bad_row_among_good_ones_goes_to_quarantine",
                "tests/readers/test_bad_files.py::test_a_bad_file_is_one_message",
            ),
        ),
        (
            "A file does not decide how much memory a build takes: units end by bytes, and what unpacks "
            "without bound is refused before it is unpacked.",
            (
                "tests/readers/test_bounds.py::test_units_end_by_bytes_and_a_build_that_continues_finds_the_same",
                "tests/readers/test_bounds.py::test_a_line_that_is_too_long_is_a_bad_row_and_its_neighbors_are_read",
                "tests/readers/test_bounds.py::test_a_list_is_read_value_by_value_and_errors_have_their_place",
                "tests/readers/test_bounds.py::test_pages_that_unpack_to_gigabytes_are_refused",
                "tests/readers/test_bounds.py::test_honest_files_that_repeat_a_text_are_read_in_small_units",
                "tests/readers/test_bounds.py::test_far_too_many_columns_are_refused_in_a_short_message",
                "tests/readers/test_bounds.py::test_one_long_text_of_a_dictionary_for_all_rows_is_refused",
                "tests/readers/test_csv_ahead.py::test_a_file_that_is_not_wanted_to_its_end_is_read_no_further",
                "tests/sources/layouts/test_named.py::test_a_column_of_nulls_is_not_read_for_its_names",
                Tried(
                    "tests/readers/test_bounds.py::test_damaged_parquet_files_are_read_or_refused_and_end_no_process",
                    80,
                    "damaged files",
                ),
                Tried("tests/readers/test_bounds.py::test_more_damaged_parquet_files", 5000, "damaged files"),
            ),
        ),
        (
            "Rows that are nested too deeply go to quarantine, and their neighbors do not.",
            (
                "tests/readers/test_deep_json.py::test_deep_columns_are_bad_rows",
                "tests/readers/test_deep_json.py::test_an_array_of_rows",
                "tests/readers/test_deep_json.py::test_deep_json_in_a_text",
                Tried(
                    "tests/readers/test_hostile_json.py::test_deep_rows_leave_their_neighbors_alone",
                    64,
                    "16 depths and shapes in 4 kinds of files, most under `slow`",
                ),
                Tried(
                    "tests/readers/test_hostile_json.py::test_deep_rows_of_a_list_that_is_read_in_pieces",
                    7,
                    "two rows in pieces of three sizes, and one without an end",
                ),
                "tests/readers/test_hostile_json.py::test_deep_literals_are_refused",
                "tests/readers/test_hostile_json.py::test_deep_tools_and_arguments_of_templates_are_refused",
                "tests/models/chat/test_messages.py::test_what_templates_cannot_follow_is_no_value",
                "tests/dataset/test_tools.py::test_deep_arguments_stay_texts",
            ),
        ),
        (
            "A row says the same alone, with any neighbors, and in units of any size.",
            (
                "tests/sources/test_row_alone.py::test_rows_of_pairs",
                "tests/sources/test_row_alone.py::test_rows_of_completions",
                "tests/sources/test_row_alone.py::test_rows_of_ten_thousand_files",
                "tests/sources/test_row_alone.py::test_metadata_is_what_rows_say",
                "tests/sources/test_row_alone.py::test_completions_that_are_spelled_differently",
                "tests/sources/test_row_alone.py::test_ten_thousand_rows_that_are_spelled_differently",
                "tests/sources/test_mixed_spellings.py::test_nothing_of_a_completion_is_lost",
                "tests/sources/test_mixed_spellings.py::test_lists_of_several_kinds_are_metadata",
                "tests/sources/test_mixed_spellings.py::test_lists_of_several_kinds_are_no_field",
                "tests/sources/test_mixed_spellings.py::test_objects_of_models_have_their_order",
                "tests/sources/test_mixed_spellings.py::test_rows_of_pairkit_next_to_others",
                "tests/readers/test_arrow_types.py::test_two_fields_of_one_name_are_refused",
                "tests/readers/test_parquet.py::test_rows_that_are_not_utf8_keep_their_bytes",
                "tests/readers/test_csv_quotes.py::test_text_after_a_closing_quote_goes_to_quarantine",
                "tests/readers/test_csv_quotes.py::test_every_other_row_is_what_the_standard_library_reads",
                "tests/readers/test_csv_quotes.py::test_such_cells_are_found_wherever_a_file_is_cut",
                "tests/readers/test_hostile_json.py::test_metadata_is_as_it_is_written",
                "tests/readers/test_hostile_json.py::test_what_json_has_not_is_a_text",
                "tests/readers/test_hostile_json.py::test_scores_beyond_numbers_are_refused",
                "tests/readers/test_hostile_json.py::test_lines_that_are_no_row_are_refused_alone",
                "tests/readers/test_hostile_json.py::test_keys_that_occur_twice_elsewhere",
                "tests/readers/test_hostile_json.py::test_groups_do_not_depend_on_the_spelling_of_a_number",
                Tried(
                    "tests/sources/test_mixed_spellings.py::test_a_row_is_read_as_if_it_were_alone",
                    24,
                    "eight files of rows that are spelled differently, in units of three sizes",
                ),
                "tests/readers/test_arrow_types.py::test_values_of_every_type",
                "tests/readers/test_arrow_types.py::test_a_union_and_a_schema_without_bound_are_refused",
            ),
        ),
    ),
    "Servers, recipes and models are not trusted": (
        (
            "Any answer of a server is completions or a counted fault.",
            (
                Tried("tests/fuzz/test_answers.py::test_any_answer_is_read_or_a_fault", 10_000, FUZZED),
                Tried("tests/fuzz/test_answers.py::test_a_build_from_any_server", 1_578, FUZZED),
                "tests/engines/test_untrusted.py::test_any_depth_is_read",
                "tests/engines/test_untrusted.py::test_an_error_whose_place_is_no_list_is_read",
                "tests/engines/test_odd_servers.py::test_a_build_ends_with_what_the_server_answers",
                "tests/engines/test_kept_whole.py::test_all_of_a_text_is_kept",
                "tests/engines/test_kept_whole.py::test_what_cannot_be_kept_is_a_failed_try",
                "tests/engines/test_odd_servers.py::test_what_no_request_can_change_ends_the_build",
            ),
        ),
        (
            "An answer takes bounded memory and time, is its own request's, and lifts no budget.",
            (
                "tests/engines/test_hostile.py::test_an_attack_is_a_failed_try",
                "tests/engines/test_hostile.py::test_an_attack_that_never_ends_costs_its_own_request",
                "tests/engines/test_hostile.py::test_what_has_no_end_ends_with_the_time_of_a_try",
                "tests/engines/test_hostile.py::test_a_connection_may_break_at_any_byte",
                "tests/engines/test_hostile.py::test_a_bomb_takes_no_more_memory_than_an_answer_may",
                Tried("tests/engines/test_hostile.py::test_an_odd_answer_is_read", 22, COLLECTED),
                "tests/engines/test_hostile.py::test_no_count_of_a_server_lifts_a_budget",
                "tests/engines/test_usage.py::test_only_counts_that_can_be_true_are_believed",
                Tried("tests/engines/test_hostile.py::test_no_redirect_is_followed", 16, COLLECTED),
                "tests/engines/test_usage.py::test_four_times_the_answer_takes_about_four_times_as_long",
                "tests/engines/test_soak.py::test_memory_is_flat_and_counts_add_up",
            ),
        ),
        (
            "A judge's answer has the one verdict that it states, or none.",
            (
                Tried(
                    "tests/fuzz/test_answers.py::test_any_answer_of_a_judge_has_one_verdict_or_none",
                    10_000,
                    FUZZED,
                ),
                "tests/rankers/judge/test_quotations.py::test_a_key_is_harmless_however_far_its_colon_is",
                "tests/rankers/judge/test_quotations.py::test_quoted_ends_of_drafts_end_none",
                "tests/rankers/judge/test_control_tokens.py::test_a_token_is_shown_with_other_brackets",
                "tests/rankers/judge/test_control_tokens.py::test_an_answer_without_bound_has_no_verdict",
                "tests/rankers/judge/test_hostile_answers.py::test_text_that_looks_like_a_verdict_changes_nothing",
                "tests/rankers/judge/test_hostile_answers.py::"
                "test_no_form_of_a_prompt_can_be_repeated_from_a_completion",
                "tests/rankers/judge/test_hostile_answers.py::test_a_set_without_verdict_goes_to_quarantine_unscored",
            ),
        ),
        (
            "Nothing runs that the command does not name.",
            (
                "tests/test_trust.py::test_the_standard_library_is_never_named",
                "tests/test_trust.py::test_no_loss_is_of_the_standard_library",
                "tests/test_trust.py::test_what_a_module_imported_from_the_standard_library_is_refused",
                "tests/test_trust.py::test_a_module_that_nobody_named_is_not_imported",
                "tests/test_trust.py::test_the_standard_library_cannot_be_allowed",
                "tests/test_trust.py::test_remote_code_needs_the_flag",
                "tests/test_trust.py::test_code_that_vllm_imports_is_named_in_the_command",
                "tests/test_trust.py::test_what_a_command_names",
                "tests/cli/test_code.py::test_a_name_of_a_model_names_no_module",
                "tests/cli/test_code.py::test_a_check_of_a_recipe_is_not_imported",
                "tests/cli/test_code.py::test_the_standard_library_never_runs",
                "tests/cli/test_code.py::test_a_loss_of_a_recipe_is_not_imported",
                "tests/cli/test_code.py::test_a_recipe_file_of_the_library_names_nothing_either",
                "tests/cli/test_code.py::test_remote_code_of_a_recipe_needs_the_flag",
                "tests/cli/test_code.py::test_the_record_of_a_run_runs_nothing",
            ),
        ),
        (
            "A stranger's model runs nothing, asks nothing, and its errors are short.",
            (
                "tests/models/test_hostile_files.py::test_a_hostile_model",
                "tests/test_remote_code.py::test_every_load_states_whether_code_is_trusted",
                "tests/test_remote_code.py::test_nothing_asks_or_runs_what_a_file_holds",
                "tests/test_remote_code.py::test_pickles_are_read_with_weights_only",
                "tests/test_remote_code.py::test_no_library_is_told_to_trust",
                "tests/models/test_hostile_files.py::"
                "test_a_regular_expression_of_a_tokenizer_that_does_not_end",
            ),
        ),
        (
            "Templates compute and write within limits, in the sandbox.",
            (
                "tests/models/chat/test_limits.py::test_a_template_without_end",
                "tests/models/chat/test_limits.py::test_a_template_that_makes_too_much",
                "tests/models/chat/test_limits.py::test_a_range_beyond_the_sandbox",
                "tests/models/chat/test_limits.py::test_the_sandbox_is_still_closed",
                "tests/models/chat/test_limits.py::test_a_template_file_that_does_not_end",
            ),
        ),
        (
            "No environment variable is sent to a server because a recipe file says so.",
            (
                "tests/test_trust.py::test_a_key_is_sent_only_where_a_person_allows_it",
                "tests/cli/test_code.py::test_a_recipe_sends_no_variable_that_the_command_does_not_name",
            ),
        ),
        (
            "Secrets are masked wherever pairkit writes or prints, and never published.",
            (
                "tests/test_masking.py::test_a_secret_is_hidden",
                "tests/test_masking.py::test_the_name_of_a_key_tells",
                "tests/test_masking.py::test_the_key_that_is_used_is_hidden_whatever_its_form",
                "tests/cli/test_secrets.py::test_secrets_that_the_server_echoes",
                "tests/engines/test_secrets.py::test_a_secret_is_hidden_in_every_spelling",
                "tests/cli/test_secrets.py::test_a_key_in_an_error",
                "tests/cli/test_secrets.py::test_a_password_in_the_url",
                "tests/cli/test_secrets.py::test_a_token_in_the_body_is_masked_and_not_published",
                "tests/cli/test_secrets.py::test_a_key_in_place_of_its_variable",
                "tests/hub/test_links.py::test_a_secret_in_the_files_of_a_model",
                "tests/hub/test_links.py::test_a_secret_in_the_fields_of_a_card",
                "tests/hub/test_secrets_in_texts.py::test_a_card_with_a_secret_is_not_pushed",
                "tests/hub/test_secrets_in_texts.py::test_a_text_of_a_model_with_a_secret_is_not_pushed",
                "tests/hub/test_secrets_in_texts.py::test_a_mapping_of_a_model_with_a_secret_is_not_pushed",
                "tests/engines/test_openai.py::test_what_is_no_url_is_refused_without_its_password",
            ),
        ),
        (
            "A push follows no link out of its directory.",
            (
                "tests/hub/test_links.py::test_a_link_out_of_a_dataset",
                "tests/hub/test_links.py::test_a_link_out_of_a_run",
            ),
        ),
        (
            "Control tokens in texts are text, in training, generation, scoring and judging.",
            (
                "tests/models/chat/test_attacks.py::test_no_spelling_of_a_control_token_is_one",
                "tests/models/chat/test_attacks.py::"
                "test_a_content_has_the_ids_of_a_tokenizer_without_control_tokens",
                "tests/models/chat/test_attacks.py::test_no_template_makes_a_control_token_of_a_content",
                "tests/models/chat/test_attacks.py::test_a_key_of_a_tool_makes_no_token",
                "tests/models/chat/test_attacks.py::test_every_field_is_text",
                "tests/rankers/pairrm/test_text.py::test_no_text_is_a_control_token",
                "tests/models/chat/test_control.py::"
                "test_a_text_without_stand_ins_has_the_ids_that_the_tokenizer_gives_it",
                "tests/models/chat/test_control.py::"
                "test_hidden_texts_have_the_ids_of_a_tokenizer_without_control_tokens",
                "tests/models/chat/test_control.py::test_a_tokenizer_that_cannot_be_copied_gives_text_too",
                "tests/models/chat/test_control.py::test_the_names_of_a_copy_cannot_be_forged",
                "tests/training/tokens/test_thoughts.py::test_no_message_can_forge_a_turn",
                "tests/training/tokens/test_tokenize.py::test_special_tokens_in_text_are_plain_text",
            ),
        ),
        (
            "Escape sequences, marks that turn writing, and markup are shown as such; commands are quoted.",
            (
                "tests/cli/test_terminal.py::test_an_attack_is_shown_as_such",
                "tests/cli/test_terminal.py::test_markup_is_literal",
                "tests/cli/test_terminal.py::test_the_description_of_a_bar",
                "tests/cli/test_terminal.py::test_hostile_names_of_files_and_folders",
                "tests/cli/test_terminal.py::test_the_next_command_is_quoted",
                "tests/test_progress.py::test_a_quoted_word_is_what_a_shell_reads",
            ),
        ),
        (
            "A text on an HTML page makes no element, no attribute and no link, and is shown as it is.",
            (
                Tried("tests/reports/test_attacks.py::test_no_text_is_an_element", 126, COLLECTED),
                "tests/reports/test_attacks.py::test_every_page_is_attacked",
            ),
        ),
        (
            "Recipes of any content are a plan, a build, or one line.",
            (
                Tried("tests/fuzz/test_recipes.py::test_any_recipe_of_a_build", 750, FUZZED),
                Tried("tests/fuzz/test_recipes.py::test_any_recipe_of_training", 1_050, FUZZED),
                "tests/test_yaml12.py::test_a_hostile_file",
                "tests/test_yaml12.py::test_a_hostile_value_of_a_command",
                "tests/test_yaml12.py::test_texts_that_are_no_path",
                "tests/test_yaml12.py::test_a_text_is_no_number",
                "tests/test_yaml12.py::test_absurd_values_of_a_program",
                "tests/test_yaml12.py::test_absurd_values_of_a_build",
                "tests/test_yaml12.py::test_a_hostile_prompt_of_a_judge",
            ),
        ),
        (
            "Damaged records, manifests, rows of the cache and configurations of generation are one line.",
            (
                "tests/pipeline/test_damaged_files.py::test_a_damaged_record_of_a_stopped_build",
                "tests/pipeline/test_damaged_files.py::test_a_damaged_manifest",
                "tests/test_records.py::test_a_damaged_record_is_one_line",
                "tests/test_records.py::test_what_cannot_be_parsed_is_a_value_error",
                "tests/readers/test_cut_while_read.py::test_a_file_that_is_cut_while_it_is_read",
                "tests/pipeline/test_damaged_files.py::test_a_damaged_row_of_the_cache",
                "tests/sweep/test_run.py::test_damaged_metrics_are_one_line",
                "tests/run_report/test_report.py::test_a_damaged_list_of_tables_is_one_line",
                "tests/replication/test_run.py::test_numbers_of_another_form_are_named",
                "tests/models/test_damaged.py::test_a_damaged_generation_config",
            ),
        ),
    ),
}
