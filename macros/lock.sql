{#-
    One command at a time changes a warehouse. Who is at work is a table, because a catalog makes a
    table once: `<schema>_audit.running`. It names the process, so that one that was killed holds
    nobody up. Only for Spark inside the dbt process: a server's process outlives its clients.
-#}

{% macro take_lock() %}
    {% if not is_embedded() %}{{ return('') }}{% endif %}
    {% do run_query("create schema if not exists " ~ audit_schema()) %}
    {% set process = this_process() %}
    {% set waited = namespace(seconds=0) %}
    {% for attempt in range(var('wait_seconds') + 2) %}
        {% set holder = claim_lock(process) %}
        {% if holder.get('invocation') == invocation_id %}{{ return('') }}{% endif %}
        {% if not holder %}
            {#- it has just ended -#}
        {% elif not is_alive(holder, process) %}
            {#- a process that is gone can no longer give it back; of two that see it, one can rename it -#}
            {% if claim_lock(process).get('invocation') == holder.invocation %}
                {% do run_query(
                    "alter table " ~ lock_table() ~ " rename to " ~ audit_schema() ~ ".ended_"
                    ~ holder.invocation.replace('-', '_')
                ) %}
            {% endif %}
        {% elif waited.seconds < var('wait_seconds') %}
            {% if waited.seconds == 0 %}
                {% do log("Waiting up to " ~ var('wait_seconds') ~ " s for " ~ said(holder) ~ ".", info=True) %}
            {% endif %}
            {% do run_query("select java_method('java.lang.Thread', 'sleep', 1000L)") %}
            {% set waited.seconds = waited.seconds + 1 %}
        {% else %}
            {{ exceptions.raise_compiler_error(
                "At work on this warehouse is " ~ said(holder) ~ ". Nothing was changed; try again when it has ended."
            ) }}
        {% endif %}
    {% endfor %}
{% endmacro %}


{#- Makes the table, unless it is there; returns what it says, nothing if it is gone again. -#}
{% macro claim_lock(process) %}
    {% do run_query(
        "create table if not exists " ~ lock_table() ~ " (nothing int) using iceberg comment '"
        ~ [invocation_id, flags.WHICH, process[0], process[1], run_started_at.strftime('%Y-%m-%d %H:%M:%S')]
        | join('|') ~ "'"
    ) %}
    {% set holder = {} %}
    {% for row in run_query("show table extended in " ~ audit_schema() ~ " like 'running'").rows %}
        {% set said = modules.re.search('Comment: (.*)', row['information']).group(1).split('|') %}
        {% for name in ['invocation', 'command', 'process', 'host', 'since'] %}
            {% do holder.update({name: said[loop.index0]}) %}
        {% endfor %}
    {% endfor %}
    {{ return(holder) }}
{% endmacro %}


{#- Process id of the JVM, and its host. -#}
{% macro this_process() %}
    {{ return(run_query(
        "select java_method('java.lang.ProcessHandle', 'current'), java_method('java.net.InetAddress', 'getLocalHost')"
    ).rows[0]) }}
{% endmacro %}


{#- This process runs one command at a time; what another host does is not known. -#}
{% macro is_alive(holder, process) %}
    {% if holder.host != process[1] %}{{ return(true) }}{% endif %}
    {% if holder.process == process[0] %}{{ return(false) }}{% endif %}
    {{ return(run_query(
        "select java_method('java.lang.ProcessHandle', 'of', bigint(" ~ holder.process ~ "))"
    ).rows[0][0] != 'Optional.empty') }}
{% endmacro %}


{% macro said(holder) %}
    {{ return(
        "another dbt " ~ holder.command ~ " (process " ~ holder.process ~ " on "
        ~ holder.host.split('/')[0] ~ ", since " ~ holder.since ~ " UTC)"
    ) }}
{% endmacro %}


{% macro release_lock() %}
    {% if not execute or not is_embedded() %}{{ return('') }}{% endif %}
    {% set rows = run_query("show tables in " ~ audit_schema()).rows %}
    {% for row in rows if row[1] == 'running' or row[1].startswith('ended_') %}
        {% do run_query("drop table if exists " ~ audit_schema() ~ "." ~ row[1]) %}
    {% endfor %}
{% endmacro %}


{% macro lock_table() %}{{ return(audit_schema() ~ '.running') }}{% endmacro %}


{% macro audit_schema() %}{{ return(target.schema ~ '_audit') }}{% endmacro %}


{#- Whether Spark runs inside the dbt process. `target` does not tell. -#}
{% macro is_embedded() %}{{ return(adapter.config.credentials.method == 'session') }}{% endmacro %}
