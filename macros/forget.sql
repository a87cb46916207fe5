{#-
    Users who are forgotten: of a line of theirs base_events keeps only which file it came from, so that lines
    still add up. The rules are here once, for builds, which load lines, and for `python -m warehouse forget`,
    which renders these macros by itself. They are in no model, as a user more changes no code.
-#}

{#- A query of lines for base_events, with those of forgotten users blanked out. -#}
{% macro without_forgotten_users(query) %}
    {% set users = run_query("select user_hash, salt from " ~ audit_schema() ~ ".forgotten_users").rows %}
    {% if not users %}{{ return(query) }}{% endif %}
    {% set columns = [] %}
    {% for name in model.columns %}
        {% set blank = "'forgotten_user'" if name == 'reject_reason' else 'null' %}
        {% do columns.append(name if name in kept_of_forgotten() else "if(is_forgotten, " ~ blank ~ ", " ~ name ~ ") as " ~ name) %}
    {% endfor %}
    {{ return("select " ~ columns | join(', ') ~ " from (select *, "
        ~ is_forgotten(users | map(attribute=0) | list, users[0][1]) ~ " as is_forgotten from (" ~ query ~ "\n))") }}
{% endmacro %}


{% macro kept_of_forgotten() %}
    {{- return(['source_file', 'source_file_bytes', 'source_file_modified_at', 'loaded_at']) -}}
{% endmacro %}


{#- Condition on a line of base_events: whether one of these users is its user, or is named in its text. -#}
{% macro is_forgotten(hashes, salt) -%}
    (
        coalesce({{ is_one_of(user_hash('user_id', salt), hashes) }}, false)
        or coalesce(exists({{ ids_in_text() }}, id -> {{ is_one_of(user_hash('id', salt), hashes) }}), false)
    )
{%- endmacro %}


{% macro user_hash(id, salt) -%}
    sha2(concat({{ sql_string(salt) }}, {{ id }}), 256)
{%- endmacro %}


{#- All that may be an id in the text of a rejected line whose user is not known: its field `userId`; each word,
    quoted or not, of a line that has no such field or is no JSON. Null on all other lines. -#}
{% macro ids_in_text() -%}
    transform(
        flatten(transform(
            array(case
                when reject_reason = 'not_json' then raw_line
                when user_id is null then coalesce(get_json_object(raw_line, '$.userId'), raw_line)
            end),
            text -> array_union(
                array(text),
                array_union(split(text, '["\'\\\\]+'), split(text, '[\\s"\'\\\\,:;=|&{}\\[\\]()<>]+'))
            )
        )),
        word -> {{ user_id('word') }}
    )
{%- endmacro %}
