{#- SQL that models share, and that decides what is in their rows: a table is made again when it changes. -#}

{#- The fields of a line that are read, as the log names them. -#}
{% macro raw_event_fields() -%}
    ts bigint, userId string, sessionId bigint, page string, auth string, method string,
    status bigint, level string, itemInSession bigint, location string, userAgent string,
    registration double, gender string, artist string, song string, length double,
    _corrupt_record string
{%- endmacro %}


{#- The fields of a line that are texts, as another type. -#}
{% macro raw_text_fields(type) -%}
    {{ raw_event_fields() | replace(' string', ' ' ~ type) | replace('_corrupt_record ' ~ type, '_corrupt_record string') }}
{%- endmacro %}


{#- JSON as RFC 8259 has it: Spark's reader by itself takes single quotes and NaN as well. -#}
{% macro json_options() -%}
    {{ return({
        'mode': 'PERMISSIVE',
        'columnNameOfCorruptRecord': '_corrupt_record',
        'allowSingleQuotes': 'false',
        'allowNonNumericNumbers': 'false',
    }) }}
{%- endmacro %}


{#- The fields of a line, `_corrupt_record` among them where it is not null. -#}
{% macro parsed(line, fields) -%}
    from_json(
        {{ line }},
        '{{ fields }}',
        map({% for option in json_options().items() %}'{{ option | join("', '") }}'{{ ", " if not loop.last }}{% endfor %})
    )
{%- endmacro %}


{#- A text of a rejected line; of a nested value, which may hold a name, only that it was one. -#}
{% macro unless_nested(text) -%}
    if(has_nested_value and {{ text }} rlike '^[{\\[]', '***', {{ text }})
{%- endmacro %}


{#- A user id as text: one user however a tool wrote the number (91, "91", 91.0, 9.1e1, "91 "), nobody
    for a blank and for texts that tools write for nothing. A number with a zero in front is another id. -#}
{% macro user_id(text) -%}
    case
        when trim({{ text }}) in (
            '', 'nan', 'NaN', 'NAN', 'null', 'Null', 'NULL', 'none', 'None', 'NONE',
            'nil', 'undefined', '<NA>', '\\N'
        ) then null
        when {{ is_float(text) }}
            then coalesce(cast(cast({{ float_id(text) }} as decimal(38, 0)) as string), trim({{ text }}))
        else trim({{ text }})
    end
{%- endmacro %}


{#- Whether a text is no id of a user: true and false, and a number with a fraction. -#}
{% macro is_no_user_id(text) -%}
    (
        {{ text }} in ('true', 'false', 'True', 'False')
        or {{ is_float(text) }} and {{ float_id(text) }} <> floor({{ float_id(text) }})
    )
{%- endmacro %}


{#- Spark's reader writes a number with a fraction or an exponent so; the point is looked for first, as most
    ids have none. -#}
{% macro is_float(text) -%}
    (contains({{ text }}, '.') and {{ text }} rlike '^ *[0-9]+[.][0-9]+([eE][+]?[0-9]+)? *$')
{%- endmacro %}


{% macro float_id(text) -%}
    try_cast({{ text }} as decimal(38, 10))
{%- endmacro %}


{#- A line of JSON with a 0 for each text. Escapes go first, so that no pattern looks back. -#}
{% macro without_texts(line) -%}
    regexp_replace(regexp_replace({{ line }}, '[\\\\].', ''), '"[^"]*"', '0')
{%- endmacro %}


{#- Whether a line is one object of single values, if it is JSON: a brace at the front, the only closing
    brace at the end, no list; what looks otherwise may have a brace or a bracket in a text. Every byte
    is looked at, so bytes it is: by characters the same takes half as long again. -#}
{% macro is_flat_object(line) -%}
    case
        when
            startswith({{ line }}, '{')
            and endswith({{ line }}, '}')
            and not contains(cast(left(cast({{ line }} as binary), octet_length({{ line }}) - 1) as string), '}')
            and not contains({{ line }}, '[')
            then true
        else {{ without_texts(line) }} rlike '^[{][^{}\\[\\]]*[}][ \\t]*\\z'
    end
{%- endmacro %}


{#- Whether a line is one object and nothing else: it makes lists of two and of three elements, where
    one that closes the list itself makes two lists of one length. -#}
{% macro is_one_object(line) -%}
    (
        startswith(ltrim(' \t', {{ line }}), '{')
        and coalesce(json_array_length(concat('[', {{ line }}, ',0]')), 0) = 2
        and coalesce(json_array_length(concat('[', {{ line }}, ',0,0]')), 0) = 3
    )
{%- endmacro %}


{#- Whether a line is JSON of any kind, found by reading it as a field that no one asks for; it must
    not hold the next key, either. U+FFFD stands for bytes that were no UTF-8: whoever hands texts on
    may have put it there, Comet does. -#}
{% macro is_json(line) -%}
    (
        is_valid_utf8({{ line }})
        and not contains({{ line }}, '\uFFFD')
        and coalesce(json_array_length(concat('[', {{ line }}, ',0]')), 0) = 2
        and {{ parsed("concat('{\"line\":', " ~ line ~ ", '}')", 'other string, _corrupt_record string') }}._corrupt_record
        is null
    )
{%- endmacro %}


{#- Blanks out first and last names, also where the line is cut, quoted oddly, or json within json; where
    the key has letters as escapes; and what a line that lost its front begins with. Zeros go: they
    are every second byte of UTF-16. No pattern can backtrack in a text, however long. -#}
{% macro mask_names(line) -%}
    regexp_replace(
        regexp_replace(replace({{ line }}, chr(0), ''), '^(?:[^\\[{"]*+"){1,3}(?=\\s*[,}])', '***'),
        '(?is)((?:(?:first|last)[_ -]?name|\\\\u00[4-7][0-9a-f][^":]*+")\\W{0,9}\\s*[:=>]\\s*)(\\\\+".*?(?:\\\\+"|$)|"(?:[^"\\\\]|\\\\.)*+"?|\'(?:[^\'\\\\]|\\\\.)*+\'?|[\\[{].*|[^,}\\]]*)',
        '$1"***"'
    )
{%- endmacro %}


{#- Of `${name}`, Spark would take the name for that of a setting. -#}
{% macro sql_string(text) -%}
    '{{ text | replace("\\", "\\\\") | replace("'", "\\'") | replace("${", "\\u0024{") }}'
{%- endmacro %}


{#- Condition: the value of a column is one of these texts. -#}
{% macro is_one_of(column, texts) -%}
    {%- if not texts -%}
        false
    {%- else -%}
        {{ column }} in (
            {%- for text in texts %}
            {{ sql_string(text) }}{{ "," if not loop.last }}
            {%- endfor %}
        )
    {%- endif -%}
{%- endmacro %}


{#- Condition: a date of the var `accepted_dates`, whose items are dates or, as 2018-10-05/2018-10-09,
    the first and last of several. -#}
{% macro is_accepted_date(column) -%}
    {%- set conditions = [] -%}
    {%- set accepted = var('accepted_dates') -%}
    {%- for item in (accepted if accepted is sequence and accepted is not string else [accepted]) -%}
        {%- set ends = (item | string).split('/') -%}
        {%- do conditions.append(
            column ~ " between " ~ sql_date(ends | first) ~ " and " ~ sql_date(ends | last)
        ) -%}
    {%- endfor -%}
    {{ "(" ~ conditions | join(' or ') ~ ")" if conditions else 'false' }}
{%- endmacro %}


{#- A date as SQL; one clear sentence where it is none. -#}
{% macro sql_date(text) -%}
    {%- if not modules.re.fullmatch('\\d{4}-\\d{2}-\\d{2}', text | string) -%}
        {{ exceptions.raise_compiler_error(text ~ " is no date; write it as 2018-10-05") }}
    {%- endif -%}
    date '{{ text }}'
{%- endmacro %}
