{#-
    One command at a time changes a warehouse. Who is at work is a table, because a catalog makes a
    table once: `<schema>_audit.running`. It holds until a time that each node which starts puts off, so
    a node that runs for longer than `lease_seconds` can lose it. And it names the process, so that an
    embedded one that was killed holds nobody up on its own machine.
-#}

{#- Whether this command shares the warehouse with readers only. A test makes the raw tables anew, which
    all clients of a server see. -#}
{% macro is_writer() %}
    {{ return(
        flags.WHICH in ['build', 'run', 'seed'] or flags.WHICH in ['test', 'freshness'] and not is_embedded()
    ) }}
{% endmacro %}


{% macro take_lock() %}
    {% do run_query("create schema if not exists " ~ audit_schema()) %}
    {% set process, waited = this_process(), namespace(seconds=0) %}
    {% for attempt in range(var('wait_seconds') + 2) %}
        {% set holder = claim_lock(process) %}
        {% if holder.get('invocation') == invocation_id %}
            {% do graph.update({'lock_renewed_at': modules.datetime.datetime.now()}) %}
            {{ return('') }}
        {% elif holder and not is_alive(holder, process) %}
            {% do take_over(holder, process) %}
        {% elif holder %}
            {#- one that has just ended leaves nothing -#}
            {% do wait_for(holder, waited.seconds) %}
            {% set waited.seconds = waited.seconds + 1 %}
        {% endif %}
    {% endfor %}
{% endmacro %}


{#- A process that is gone can no longer give it back; of two that see it, one can rename it. -#}
{% macro take_over(holder, process) %}
    {% if claim_lock(process).get('invocation') == holder.invocation %}
        {% do run_query(
            "alter table " ~ lock_table() ~ " rename to " ~ audit_schema() ~ ".ended_" ~ holder.invocation.replace('-', '_')
        ) %}
    {% endif %}
{% endmacro %}


{#- For a second; ends the run where it has waited long enough. -#}
{% macro wait_for(holder, seconds) %}
    {% if seconds >= var('wait_seconds') %}
        {{ exceptions.raise_compiler_error(
            said(holder)[0] | upper ~ said(holder)[1:] ~ " is at work on this warehouse. Nothing was changed. Try again when "
            ~ "it has ended. If it was killed: python -m warehouse unlock " ~ holder.invocation
        ) }}
    {% elif seconds == 0 %}
        {% do log("Waiting up to " ~ var('wait_seconds') ~ " s for " ~ said(holder) ~ ".", info=True) %}
    {% endif %}
    {% do run_query("select java_method('java.lang.Thread', 'sleep', 1000L)") %}
{% endmacro %}


{#- Makes the table, unless it is there; returns what it says, nothing if it is gone again. -#}
{% macro claim_lock(process) %}
    {% do run_query(
        "create table if not exists " ~ lock_table() ~ " (nothing int) using iceberg comment " ~ lock_text(process)
    ) %}
    {{ return(lock_holder()) }}
{% endmacro %}


{#- In the comment, as `show table extended` tells properties letter by letter. -#}
{% macro lock_text(process) %}
    {{ return("'" ~ [
        invocation_id, flags.WHICH, process[0], process[1], run_started_at.strftime('%Y-%m-%d %H:%M:%S'),
        lease_end(),
    ] | join('|') ~ "'") }}
{% endmacro %}


{% macro lock_holder() %}
    {% set holder = {} %}
    {% for row in run_query("show table extended in " ~ audit_schema() ~ " like 'running'").rows %}
        {% set said = modules.re.search('Comment: (.*)', row['information']).group(1).split('|') %}
        {% for name in ['invocation', 'command', 'process', 'host', 'since', 'until'] %}
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


{#- By the clock of Spark, in seconds. -#}
{% macro lease_end() %}
    {{ return(run_query("select unix_timestamp() + " ~ var('lease_seconds')).rows[0][0]) }}
{% endmacro %}


{#- Before each node. The table may be another command's by now: then this one stops. -#}
{% macro renew_lock(always=false) %}
    {% set now, renewed_at = modules.datetime.datetime.now(), graph.get('lock_renewed_at') %}
    {% if not renewed_at or not always and (now - renewed_at).total_seconds() < var('lease_seconds') / 20 %}
        {{ return('') }}
    {% endif %}
    {% do graph.update({'lock_renewed_at': now}) %}
    {% if lock_holder().get('invocation') != invocation_id %}
        {{ exceptions.raise_compiler_error(
            "Another command took over this warehouse, because a node of this one ran for more than "
            ~ var('lease_seconds') ~ " s. Raise the var lease_seconds, and build again."
        ) }}
    {% endif %}
    {% do run_query("comment on table " ~ lock_table() ~ " is " ~ lock_text(this_process())) %}
{% endmacro %}


{#- What another host does is not known; on a cluster, a driver in a container has a host and process ids
    of its own, and a server's process outlives its clients: there the lease alone tells. -#}
{% macro is_alive(holder, process) %}
    {% if not holder.until or lease_end() - var('lease_seconds') > holder.until | int %}{{ return(false) }}{% endif %}
    {% if holder.host != process[1] or not is_embedded() %}{{ return(true) }}{% endif %}
    {#- embedded, this process runs one command at a time -#}
    {{ return(holder.process != process[0] and run_query(
        "select java_method('java.lang.ProcessHandle', 'of', bigint(" ~ holder.process ~ "))"
    ).rows[0][0] != 'Optional.empty') }}
{% endmacro %}


{% macro said(holder) %}
    {% set is_dbt = holder.command in ['build', 'run', 'seed', 'test', 'freshness'] %}
    {{ return(
        ("another dbt " if is_dbt else "another command, ") ~ holder.command ~ " (process " ~ holder.process ~ " on "
        ~ holder.host.split('/')[0] ~ ", since " ~ holder.since ~ " UTC, its lease lasts until "
        ~ modules.datetime.datetime.utcfromtimestamp(holder.until | int) ~ " UTC)"
    ) }}
{% endmacro %}


{#- The lock of this command, and leftovers of locks that were taken over. -#}
{% macro release_lock() %}
    {% if not execute or lock_holder().get('invocation') != invocation_id %}{{ return('') }}{% endif %}
    {% set rows = run_query("show tables in " ~ audit_schema()).rows %}
    {% for row in rows if row[1] == 'running' or row[1].startswith('ended_') %}
        {% do run_query("drop table if exists " ~ audit_schema() ~ "." ~ row[1]) %}
    {% endfor %}
{% endmacro %}


{% macro lock_table() %}{{ return(audit_schema() ~ '.running') }}{% endmacro %}


{#- Whether Spark runs inside the dbt process, and its own catalog with it. `target` does not tell. -#}
{% macro is_embedded() %}
    {{ return(is_driver() and spark_settings().get('spark.sql.catalogImplementation') == 'in-memory') }}
{% endmacro %}


{#- Whether Spark's driver is the dbt process; on a cluster, one of many machines. -#}
{% macro is_driver() %}
    {{ return(adapter.config.credentials.method == 'session' and 'spark.remote' not in spark_settings()) }}
{% endmacro %}


{% macro spark_settings() %}{{ return(adapter.config.credentials.server_side_parameters) }}{% endmacro %}
