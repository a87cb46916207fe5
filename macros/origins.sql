{#-
    Each table knows what it was made from. The commit that writes its rows has a summary property,
    `churn.made_from.<table>`, of words: the checksum of its code, the snapshot of `base_events`, and of the
    log's calendar the first, the last and the last complete date; `-` where there is none. A sixth word is
    what else of the landing folder it shows: the folder that files were loaded from, or which files the
    ledger compared. What is to be made again follows from this alone. So builds that failed, were killed,
    were of a part only or were taken back need no rule of their own.
-#}

{#- on-run-start: what all tables are made from now, in one query. -#}
{% macro read_state() %}
    {% do graph.update({'run': {
        'publication': last_publication(), 'versions': {}, 'codes': {}, 'view_codes': {}, 'plans': {}, 'changes': {},
        'built': [],
    }}) %}
    {% do read_versions(table_nodes() + seed_nodes() + ml_sources()) %}
{% endmacro %}


{#- Per node: `tags`, the snapshot of each tag and of `main`; `commits`, the parent, the operation and the
    origin of each snapshot. Nothing of a table that is not there. -#}
{% macro read_versions(nodes, are_there=false) %}
    {% set selects = [] %}
    {% for node in nodes %}
        {% do graph.run.versions.update({node.unique_id: {'tags': {}, 'commits': {}}}) %}
        {% if are_there or relation_exists(node) %}{% do selects.append(versions_query(node)) %}{% endif %}
    {% endfor %}
    {#- by one task: else a task for each table, which takes half as long again -#}
    {% set query = "select /*+ coalesce(1) */ * from (" ~ selects | join(' union all ') ~ ")" %}
    {% for row in (run_query(query).rows if selects else []) %}
        {% set version = graph.run.versions[row[0]] %}
        {% if row[1] is not none %}
            {% do version.tags.update({row[1]: row[2]}) %}
        {% else %}
            {% do version.commits.update({row[2]: {'parent': row[3], 'operation': row[4], 'origin': row[5]}}) %}
        {% endif %}
    {% endfor %}
{% endmacro %}


{% macro versions_query(node) %}
    {% set id, table = "select '" ~ node.unique_id ~ "'", table_name(node) %}
    {{ return(
        id ~ ", name, string(snapshot_id), null, null, null from " ~ table ~ ".refs union all "
        ~ id ~ ", null, string(snapshot_id), string(parent_id), operation, element_at(summary, '"
        ~ origin_key(node) ~ "') from " ~ table ~ ".snapshots"
    ) }}
{% endmacro %}


{#- By table, as models that are built at the same time share a session. -#}
{% macro origin_key(node) %}{{ return('churn.made_from.' ~ (node.alias or node.identifier)) }}{% endmacro %}


{#- The snapshot of a table, and those before it whose rows it still has, newest first. -#}
{% macro ancestors(id, tag='main') %}
    {% set version = graph.run.versions[id] %}
    {% set at, snapshots = namespace(snapshot=version.tags.get(tag)), [] %}
    {% for _ in version.commits %}
        {% if at.snapshot in version.commits %}
            {% do snapshots.append(at.snapshot) %}
            {% set at.snapshot = version.commits[at.snapshot].parent %}
        {% endif %}
    {% endfor %}
    {{ return(snapshots) }}
{% endmacro %}


{#- What a version of a table was made from; none where nobody can tell, as after a change by
    hand. A compaction changes no row. Of tables that are loaded from files only the code counts. -#}
{% macro origin_of(id, tag='main') %}
    {% for snapshot in ancestors(id, tag) %}
        {% set commit = graph.run.versions[id].commits[snapshot] %}
        {% if commit.origin %}{{ return(commit.origin.split(' ')) }}{% endif %}
        {% if commit.operation != 'replace' and not is_loaded(id) %}{{ return(none) }}{% endif %}
    {% endfor %}
    {{ return(none) }}
{% endmacro %}


{% macro is_loaded(id) %}{{ return(id in [model_id('base_files'), model_id('base_events')]) }}{% endmacro %}


{#- What a node would be made from now; for a tag, what its parents were made from then. Of several parents
    the oldest counts: what is made of a stale table is stale. -#}
{% macro origin_from_parents(node, tag='main') %}
    {% set bases, calendars, listings = [], [], [] %}
    {% for id in table_parents(node) %}
        {% if id.startswith('source.') %}
            {% do listings.append(graph.run.listing) if id.endswith('.raw.files') %}
        {% elif id == model_id('base_events') %}
            {% do bases.append(graph.run.versions[id].tags.get(tag, 'unknown')) %}
        {% elif id.startswith('model.') and not is_loaded(id) %}
            {% set origin = origin_of(id, tag) or ['unknown'] * 5 %}
            {% do bases.append(origin[1]) %}
            {% do listings.extend(origin[5:]) %}
            {% set calendar = calendar_words(tag) if id == model_id('log_calendar') else origin[2:5] %}
            {% if calendar[0] != '-' %}{% do calendars.append(calendar) %}{% endif %}
        {% endif %}
    {% endfor %}
    {% set calendar = calendars[0] if calendars else ['-'] * 3 %}
    {% for other in calendars if other != calendar %}{% do bases.append('unknown') %}{% endfor %}
    {{ return([code_of(node), oldest(bases)] + calendar + listings[:1]) }}
{% endmacro %}


{#- Tables that a node reads, by itself or through views. -#}
{% macro table_parents(node) %}
    {% set ids = [] %}
    {% for id in node.depends_on.nodes %}
        {% do ids.extend(table_parents(graph.nodes[id]) if id in graph.nodes and is_view(graph.nodes[id]) else [id]) %}
    {% endfor %}
    {{ return(ids | unique | sort) }}
{% endmacro %}


{#- Of snapshots of `base_events`, the one before all others. -#}
{% macro oldest(bases) %}
    {% set line = ancestors(model_id('base_events')) %}
    {% for base in bases if base not in line %}{{ return('unknown') }}{% endfor %}
    {% for base in line | reverse if base in bases %}{{ return(base) }}{% endfor %}
    {{ return('-') }}
{% endmacro %}


{#- First, last and last complete date of the log, as the calendar has them now; for a tag, as the tables
    made by it have them. -#}
{% macro calendar_words(tag='main') %}
    {% for id in graph.run.versions if tag != 'main' %}
        {% set origin = origin_of(id, tag) if 'model.' in id else none %}
        {% if origin and origin[2] != '-' %}{{ return(origin[2:5]) }}{% endif %}
    {% endfor %}
    {% set dates = log_dates() %}
    {% set complete = dates | selectattr('2') | list %}
    {% set within = dates | selectattr('1') | list %}
    {{ return([(within | first)[0], (within | last)[0], (complete | last or ['none'])[0]]
        if within else ['none'] * 3) }}
{% endmacro %}


{#- Date, whether it is in the log's period, whether it is complete: of all dates, oldest first. -#}
{% macro log_dates() %}
    {% if 'log_dates' not in graph.run %}
        {% do graph.run.update({'log_dates': run_query(
            "select string(event_date), is_in_log_period, is_complete from "
            ~ table_name(graph.nodes[model_id('log_calendar')]) ~ " order by event_date"
        ).rows | map('list') | list}) %}
    {% endif %}
    {{ return(graph.run.log_dates) }}
{% endmacro %}


{#- Checksum of all that decides the rows of a node but the log: its own code, and that of its parents as
    they were when they were made. -#}
{% macro code_of(node) %}
    {% set parts = [own_code(node)] %}
    {% for id in node.depends_on.nodes | sort %}
        {% set parent = graph.nodes.get(id) or graph.sources[id] %}
        {% if parent.resource_type == 'source' %}
            {#- which raw files there are is no code -#}
            {% do parts.append(graph.run.versions.get(id, {'tags': {}}).tags.get('main')) %}
        {% elif parent.config.materialized != 'view' %}
            {% do parts.append((origin_of(id) or [none])[0]) %}
        {% else %}
            {#- which code a view has that is not part of this build is not known -#}
            {% do parts.append(code_of(parent) if id in selected_resources else invocation_id) %}
        {% endif %}
    {% endfor %}
    {{ return(local_md5(parts | join(' '))[:16]) }}
{% endmacro %}


{#- Of the text, contract and settings of a node, the macros that decide rows and the vars in them. Comments
    and white space do not count. -#}
{% macro own_code(node) %}
    {% if node.unique_id not in graph.run.codes %}
        {% set texts = [node.raw_code] + macro_texts(node.depends_on.macros) %}
        {% set parts = [modules.re.sub('(?s)[{]#.*?#[}]|--[^\n]*|\\s+', ' ', texts | join(' ')).split() | join(' ')] %}
        {% for name in modules.re.findall("\\bvar\\(\\s*['\"](\\w+)", parts[0]) %}{% do parts.append(var(name, '')) %}{% endfor %}
        {% do parts.append(updated_by(node)) %}
        {% for name in ['materialized', 'partition_by', 'tblproperties', 'column_types'] %}
            {% do parts.append(tojson(node.config.get(name), sort_keys=true)) %}
        {% endfor %}
        {% do parts.append(node.get('contract', {}).get('checksum')) %}
        {% do parts.append(node.checksum.checksum if node.resource_type == 'seed') %}
        {% do graph.run.codes.update({node.unique_id: local_md5(parts | join(' '))}) %}
    {% endif %}
    {{ return(graph.run.codes[node.unique_id]) }}
{% endmacro %}


{#- Macros of rows.sql decide rows, those of the other files when they are made. -#}
{% macro macro_texts(ids, file='macros/rows.sql') %}
    {% set known, texts = context[project_name], [] %}
    {% for id in ids | sort if id.split('.')[-1] in known %}
        {% set called = known[id.split('.')[-1]].macro %}
        {% if called.original_file_path == file %}
            {% do texts.append(called.macro_sql) %}
            {% do texts.extend(macro_texts(called.depends_on.macros, file)) %}
        {% endif %}
    {% endfor %}
    {{ return(texts | unique | list) }}
{% endmacro %}
